"""The HTTP process, alone or with a worker process beside it."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType

import uvicorn
from starlette.concurrency import run_in_threadpool

from service.app import create_app
from service.db import now_in, writing
from service.errors import SettingInvalid
from service.folder import held
from service.house import House, open_house
from service.logs import say
from service.migrations import bring_up_to_date
from service.outcome import EXIT_UNUSABLE
from service.processes import allow_files, process_space
from service.protocol import ProblemProtocol
from service.queue import remove_dead_workers
from service.settings import Settings, check_host
from service.supervisor import Supervisor
from service.traces import Traces, open_traces
from supernet.errors import CheckpointDamaged

GRACE_S = 3
DRAIN_LOOK_S = 0.05

log = logging.getLogger(__name__)


def serve(settings: Settings, host: str, port: int, worker_command: Sequence[str] | None) -> int:
    """Serve until asked to stop; return the exit code.

    Args:
        settings: of this process.
        host: name or address to listen on.
        port: 0 takes a free one.
        worker_command: starts the worker process; None when workers run elsewhere.

    Raises:
        ServiceError, SupernetError, AssemblerError: it cannot start as things are.
    """
    check_host(settings, host)
    # HTTP processes and workers that were started one by one may share a folder.
    with contextlib.nullcontext() if worker_command is None else held(settings.data_dir):
        return _serve(settings, host, port, worker_command)


def _serve(settings: Settings, host: str, port: int, worker_command: Sequence[str] | None) -> int:
    allow_files()
    listener = _listen(host, port)
    house = open_house(settings)
    house.catalog.check()
    bring_up_to_date(house.engine)
    with writing(house.engine) as connection:
        # They were killed with everything else: that is not the fault of their jobs.
        remove_dead_workers(connection, host=process_space(), crashed=False, now=now_in(connection))
    traces = open_traces()
    server = Server(house, traces)
    supervisor = None
    if worker_command is not None:
        supervisor = Supervisor(house.engine, worker_command, server.end)
        supervisor.start()
    # uvicorn raises the signals it caught once more when it is done; by then they must not end this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    place = f"[{host}]" if ":" in host else host
    say(f"NN-Factory listens on http://{place}:{listener.getsockname()[1]}")
    if left_out := house.catalog.left_out:
        names = ", ".join(one.name for one in left_out)
        say(f"left out: {names}; `nnfactory supernets list` and GET /supernets say what is missing")
    try:
        server.run(sockets=[listener])
    finally:
        if supervisor is not None:
            supervisor.stop()
        traces.close()
    return EXIT_UNUSABLE if supervisor is not None and supervisor.unusable else 0


class Server(uvicorn.Server):
    """uvicorn, letting those go who wait for jobs when it ends."""

    def __init__(self, house: House, traces: Traces) -> None:
        config = uvicorn.Config(
            create_app(house, traces),
            http=ProblemProtocol,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            lifespan="on",
        )
        super().__init__(config)
        self._house = house

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to end."""
        self._house.listeners.close()
        super().handle_exit(sig, frame)

    async def main_loop(self) -> None:
        """Serve until asked to end, and a while longer: who comes now is told to go elsewhere, not turned away."""
        settling = asyncio.create_task(self._settle())
        await super().main_loop()
        settling.cancel()
        until = time.monotonic() + self._house.settings.drain_s
        while self._house.listeners.closed and not self.force_exit and time.monotonic() < until:
            await asyncio.sleep(DRAIN_LOOK_S)

    async def _settle(self) -> None:
        """Keep what is loaded once from being looked through for garbage again and again."""
        with contextlib.suppress(CheckpointDamaged):
            await run_in_threadpool(self._house.catalog.load)
        # Without this a submit takes a sixth longer.
        gc.freeze()

    def end(self) -> None:
        """End as if a signal had come; from any thread."""
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "no such address"
        raise SettingInvalid(f"cannot listen on {host} port {port}: {reason}") from error
    # Connections inherit it: without, the second half of an answer waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
