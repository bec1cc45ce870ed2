"""The pulse of a worker: keeps its lease alive while it lives, and ends it when it hangs.

It beats in a process of its own (``service.heart``): native code may hold a worker's interpreter for long.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db import now_in, reading, writing
from service.errors import problem
from service.jobs import Hold, State, move
from service.logs import about
from service.queue import beat, confirm_cancel, needs_sweep, renew, sweep
from service.settings import Settings

# A phase that is over its time ends at its next step; this is what it gets for coming to one.
GRACE_S = 5.0
# Likewise for a job that is to be cancelled.
CANCEL_GRACE_S = 7.0

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Keeps the lease of the job that a worker works on."""

    def begin(self, hold: Hold, request_id: str, ends_at: float) -> None:
        """Keep the lease of a job from now on; it must end at an instant of the machine's monotonic clock, s."""

    def end(self) -> None:
        """Keep no lease from now on."""


class Pulse(threading.Thread):
    """Beats until it is stopped: renews the lease, sweeps the queue, ends a job that is stuck."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        worker: str,
        *,
        runs: Callable[[], bool] = lambda: True,
        kill: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to beat.

        Args:
            engine: the database.
            settings: of the worker's process.
            worker: its id.
            runs: whether the worker's process is running now; while it is frozen there is no beat.
            kill: ends the worker's process.
            clock: tells how time goes on, s, whoever sets the machine's time.
        """
        super().__init__(name="pulse", daemon=True)
        self._engine = engine
        self._settings = settings
        self._worker = worker
        self._runs = runs
        self._kill = kill
        self._clock = clock
        self._stopped = threading.Event()
        self._current: tuple[Hold, str, float] | None = None
        self._cancelled_at = math.inf
        self.ready = False

    def begin(self, hold: Hold, request_id: str, ends_at: float) -> None:
        """Keep this job's lease from now on; it must end at an instant of the clock, s."""
        self._cancelled_at = math.inf
        self._current = (hold, request_id, ends_at)

    def end(self) -> None:
        """Keep no lease from now on."""
        self._current = None

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()
        self.join(timeout=5.0)

    def run(self) -> None:
        """Beat at every interval."""
        while not self._stopped.wait(self._settings.beat_s):
            try:
                self.beat()
            except SQLAlchemyError:
                log.exception("the database did not take the heartbeat")

    def beat(self, now: float | None = None) -> None:
        """Beat once, at a time of the database's clock, s; None is now."""
        current = self._current
        if not self._runs():
            return
        with writing(self._engine, durable=False) as connection:
            agreed = now_in(connection) if now is None else now
            beat(connection, self._worker, ready=self.ready, now=agreed)
            if current is not None:
                state = renew(connection, current[0], lease_s=self._settings.lease_s, now=agreed)
        with reading(self._engine) as connection:
            overdue = needs_sweep(connection, now=agreed)
        if overdue:
            with writing(self._engine) as connection:
                sweep(connection, now=agreed)
        instant = self._clock()
        if current is not None and state is State.CANCELLING:
            self._cancelled_at = min(self._cancelled_at, instant)
        if current is not None and instant > min(current[2] + GRACE_S, self._cancelled_at + CANCEL_GRACE_S):
            self._give_up(current, agreed)

    def _give_up(self, current: tuple[Hold, str, float], now: float) -> None:
        """End a job that does not come to its next step, and its worker with it."""
        if current != self._current:
            # It came to its end at the last moment.
            return
        hold, request_id, _ = current
        with writing(self._engine) as connection:
            if not confirm_cancel(connection, hold, now=now):
                error = timeout_problem(hold.job_id, request_id)
                move(connection, hold.job_id, State.FAILED, now=now, hold=hold, error=error)
        with about(job_id=hold.job_id, request_id=request_id):
            log.error("job %s is stuck; the worker is ended so that another can start", hold.job_id)
        self._kill()


def timeout_problem(job_id: str, request_id: str) -> dict[str, object]:
    """Return the problem of a job that ran too long."""
    detail = "the job did not end within its deadline or the time that jobs are given"
    return problem("timeout", detail, instance=f"/jobs/{job_id}", request_id=request_id)
