"""The supervisor: starts the worker process, and starts it again when it ends."""

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db import now_in, writing
from service.ids import new_id
from service.outcome import EXIT_UNUSABLE
from service.queue import remove_worker

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
STOP_S = 10.0

log = logging.getLogger(__name__)


class Supervisor(threading.Thread):
    """Keeps one worker process running until it is stopped."""

    def __init__(
        self,
        engine: Engine,
        command: Sequence[str],
        on_unusable: Callable[[], None],
    ) -> None:
        """Prepare to supervise.

        Args:
            engine: where a dead worker's jobs are taken back.
            command: starts a worker; ``--worker-id ID`` is added, and ``--again`` from the second one on.
            on_unusable: called when the worker says that it can never work here.
        """
        super().__init__(name="supervisor", daemon=True)
        self._engine = engine
        self._command = tuple(command)
        self._on_unusable = on_unusable
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._worker = ""
        self._lock = threading.Lock()
        self.unusable = False

    def run(self) -> None:
        """Start the worker, wait for its end, take its jobs back, and again."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            worker, started = new_id("wrk"), time.monotonic()
            try:
                process = self._start(worker)
            except OSError as error:
                log.error("no worker can be started now (%s); it is tried again", error.strerror)
                pause_s = self._pause(pause_s)
                continue
            if process is None:
                return
            code = process.wait()
            if process.stdin is not None:
                process.stdin.close()
            if self._stopping.is_set():
                return
            held_jobs = self._bury(worker, crashed=True)
            if code == EXIT_UNUSABLE:
                self.unusable = True
                self._on_unusable()
                return
            # A job that brings its worker down is tried a few times only: others need not wait for that.
            if held_jobs or time.monotonic() - started > STEADY_S:
                pause_s = FIRST_PAUSE_S
            pause_s = self._pause(pause_s)
            # Whoever ends this process may have ended the worker a moment before.
            if not self._stopping.is_set():
                log.warning("the worker ended with %d and is started again", code, extra={"worker": worker})

    def stop(self) -> None:
        """End the worker: it gets a moment to put its job back into the queue."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._bury(self._worker, crashed=False)

    def _start(self, worker: str) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            self._worker = worker
            # The pipe is never written to: its end tells the worker that this process is gone.
            again = ("--again",) if self._process is not None else ()
            command = [*self._command, "--worker-id", worker, *again]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
            return self._process

    def _pause(self, pause_s: float) -> float:
        """Wait, and return how long to wait the next time."""
        self._stopping.wait(pause_s)
        return min(pause_s * 2, LONGEST_PAUSE_S)

    def _bury(self, worker: str, *, crashed: bool) -> int:
        """Take back a dead worker's jobs; return how many there were."""
        try:
            with writing(self._engine) as connection:
                return remove_worker(connection, worker, crashed=crashed, now=now_in(connection))
        except SQLAlchemyError:
            log.exception("the jobs of a dead worker could not be taken back; their lease will run out")
            return 0
