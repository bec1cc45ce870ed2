"""The worker process from its start to its end."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db import is_embedded, now_in, open_engine, writing
from service.deliveries import Deliveries
from service.heart import Heart
from service.ids import new_id
from service.logs import name_process, say
from service.migrations import bring_up_to_date
from service.processes import process_space
from service.profiles import share_profiles
from service.queue import add_worker, beat, remove_dead_workers, remove_worker
from service.scratch import use_scratch
from service.settings import Settings
from service.store import open_store
from service.traces import open_traces
from service.worker import Builder, Worker

log = logging.getLogger(__name__)

Load = Callable[[Settings], Builder]


def run_worker(settings: Settings, load: Load, *, worker_id: str | None = None) -> int:
    """Work until asked to stop; return the exit code.

    Args:
        settings: of this process.
        load: makes the builder; takes its time.
        worker_id: given by the process that supervises this one; it holds the other end of the standard input.

    Raises:
        ServiceError, SupernetError, AssemblerError: it cannot start as things are.
    """
    if worker_id is not None:
        # Ctrl-C reaches every process of a terminal; the supervisor says when it is this one's turn.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_supervisor, name="tether", daemon=True).start()
    engine = open_engine(settings.database)
    bring_up_to_date(engine)
    use_scratch(settings.data_dir)
    store = open_store(settings)
    store.clear()
    worker = worker_id or new_id("wrk")
    name_process(worker=worker)
    traces = open_traces(name=worker)
    _register(engine, worker, supervised=worker_id is not None)
    heart = Heart(settings, worker)
    heart.start()
    ending = (signal.SIGTERM,) if worker_id else (signal.SIGINT, signal.SIGTERM)
    try:
        for number in ending:
            signal.signal(number, _leave)
        builder = load(settings)
        if not is_embedded(engine):
            with writing(engine) as connection:
                share_profiles(connection, settings.data_dir, now=now_in(connection))
        labour = Worker(settings, engine, store, builder, heart, worker, traces)
        for number in ending:
            signal.signal(number, lambda *_: labour.stop())
        with writing(engine, durable=False) as connection:
            beat(connection, worker, ready=True, now=now_in(connection))
        heart.be_ready()
        if worker_id is None:
            say("the worker is ready")
        deliveries = None if settings.redis_url is None else Deliveries(settings.redis_url, worker)
        if deliveries is not None:
            deliveries.start()
        try:
            labour.run(deliveries)
        finally:
            if deliveries is not None:
                deliveries.stop()
    finally:
        heart.stop()
        try:
            with writing(engine) as connection:
                remove_worker(connection, worker, crashed=False, now=now_in(connection))
        except SQLAlchemyError:
            log.exception("the worker could not sign off; its lease will run out")
        engine.dispose()
        traces.close()
    return 0


def _register(engine: Engine, worker: str, *, supervised: bool) -> None:
    host = process_space()
    with writing(engine) as connection:
        now = now_in(connection)
        if not supervised:
            # Nobody else here takes back what a worker held that crashed and was started again.
            remove_dead_workers(connection, host=host, crashed=True, now=now)
        add_worker(connection, worker, host=host, pid=os.getpid(), now=now)


def _leave(*_: object) -> None:
    """End in order while there is no job to give back: what is being measured leaves its files behind otherwise."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def _end_with_supervisor() -> None:
    """End this process when the supervisor's end of the pipe closes: it is gone, and so is the machine's user."""
    # The file descriptor itself is read: a thread that holds sys.stdin's lock would stall the interpreter's end.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(0)
