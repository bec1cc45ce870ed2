"""The heart: a small process beside each worker in which its pulse beats, whatever the worker's interpreter does.

The worker tells it over a pipe, a line of JSON each time, which job it works on. When the pipe ends the worker is
gone, and so is the heart: what the worker held is taken back when its lease has run out, or by its supervisor.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from service.db import open_engine
from service.jobs import Hold
from service.logs import name_process, set_up_logs
from service.pulse import Pulse
from service.settings import Settings

STOP_S = 5.0

log = logging.getLogger(__name__)


class Heart:
    """The worker's end of the pipe."""

    def __init__(self, settings: Settings, worker: str) -> None:
        """Prepare; nothing runs yet.

        Args:
            settings: of this process.
            worker: the id of this process' worker.
        """
        url = settings.database_url
        # The address may hold a password: it must not be seen in the list of processes.
        self._first = {
            "database_url": url and url.render_as_string(hide_password=False),
            "beat_s": settings.beat_s,
            "lease_s": settings.lease_s,
            "data_dir": str(settings.data_dir),
            "worker": worker,
            "pid": os.getpid(),
        }
        self._state: dict[str, Any] = {"ready": False, "job": None}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start to beat."""
        command = [sys.executable, "-m", "service.heart"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
        self._write(self._first)
        self._write(self._state)

    def be_ready(self) -> None:
        """Say from now on that the worker can take jobs."""
        self._tell(ready=True)

    def begin(self, hold: Hold, request_id: str, ends_at: float) -> None:
        """Keep the lease of a job from now on; it must end at an instant of the monotonic clock, s."""
        self._tell(job={"hold": asdict(hold), "request_id": request_id, "ends_at": ends_at})

    def end(self) -> None:
        """Keep no lease from now on."""
        self._tell(job=None)

    def stop(self) -> None:
        """Beat no more."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _tell(self, **changes: Any) -> None:
        self._state |= changes
        try:
            self._write(self._state)
        except OSError:
            # It was killed; a worker without one would lose every job that takes longer than a lease.
            log.error("the worker's heart stands still and is started again")
            self.stop()
            self.start()

    def _write(self, document: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(document)}\n".encode())


def main() -> None:
    """Beat for the process at the other end of the standard input until that is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    set_up_logs()
    first = json.loads(sys.stdin.readline())
    name_process(worker=first["worker"])
    url = first["database_url"] and make_url(first["database_url"])
    settings = Settings(
        Path(first["data_dir"]), database_url=url, beat_s=first["beat_s"], lease_s=first["lease_s"]
    )
    engine, pid = open_engine(settings.database), int(first["pid"])
    pulse = Pulse(
        engine,
        settings,
        first["worker"],
        runs=lambda: not is_frozen(pid),
        kill=lambda: os.kill(pid, signal.SIGKILL),
    )
    pulse.start()
    for line in sys.stdin:
        _follow(pulse, json.loads(line))
    pulse.stop()
    engine.dispose()


def is_frozen(pid: int) -> bool:
    """Return whether a process is stopped by a signal; where that cannot be found out, it is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except OSError:
        return False


def _follow(pulse: Pulse, state: dict[str, Any]) -> None:
    pulse.ready = state["ready"]
    job = state["job"]
    if job is None:
        pulse.end()
    else:
        pulse.begin(Hold(**job["hold"]), job["request_id"], job["ends_at"])


def any_beats() -> bool:
    """Return whether a worker's heart beats among the processes that this one sees."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[1:3] == [b"-m", b"service.heart"] and b"--check" not in words:
                return True
    return False


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(not any_beats())
    main()
