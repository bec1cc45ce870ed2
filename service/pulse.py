"""The pulse of a worker: a thread that keeps its lease alive and ends it when it hangs."""

import logging
import math
import os
import threading
import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db import reading, writing
from service.errors import problem
from service.jobs import Hold, Job, State, move
from service.queue import beat, confirm_cancel, needs_sweep, renew, sweep
from service.settings import Settings

EXIT_STUCK = 70
# A phase that is over its time ends at its next step; this is what it gets for coming to one.
GRACE_S = 5.0
# Likewise for a job that is to be cancelled.
CANCEL_GRACE_S = 7.0

log = logging.getLogger(__name__)


class Pulse(threading.Thread):
    """Beats until it is stopped: renews the lease, sweeps the queue, ends a job that is stuck."""

    def __init__(self, engine: Engine, settings: Settings, worker: str) -> None:
        super().__init__(name="pulse", daemon=True)
        self._engine = engine
        self._settings = settings
        self._worker = worker
        self._stopped = threading.Event()
        self._current: tuple[Job, Hold, float] | None = None
        self._cancelled_at = math.inf
        self.ready = False

    def begin(self, job: Job, hold: Hold, ends_at: float) -> None:
        """Keep this job's lease from now on; it must end at a time, s."""
        self._cancelled_at = math.inf
        self._current = (job, hold, ends_at)

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
                self.beat(time.time())
            except SQLAlchemyError:
                log.exception("the database did not take the heartbeat")

    def beat(self, now: float) -> None:
        """Beat once."""
        current = self._current
        with writing(self._engine, durable=False) as connection:
            beat(connection, self._worker, ready=self.ready, now=now)
            if current is not None:
                state = renew(connection, current[1], lease_s=self._settings.lease_s, now=now)
                if state is State.CANCELLING:
                    self._cancelled_at = min(self._cancelled_at, now)
        with reading(self._engine) as connection:
            overdue = needs_sweep(connection, now=now)
        if overdue:
            with writing(self._engine) as connection:
                sweep(connection, now=now)
        if current is not None and now > min(current[2] + GRACE_S, self._cancelled_at + CANCEL_GRACE_S):
            self._give_up(current[0], current[1], now)

    def _give_up(self, job: Job, hold: Hold, now: float) -> None:
        """End a job that does not come to its next step, and this process with it."""
        with writing(self._engine) as connection:
            if not confirm_cancel(connection, hold, now=now):
                error = timeout_problem(job)
                move(connection, job.id, State.FAILED, now=now, hold=hold, error=error)
        log.error("job %s is stuck; the worker ends so that another can start", job.id)
        os._exit(EXIT_STUCK)


def timeout_problem(job: Job) -> dict[str, object]:
    """Return the problem of a job that ran too long."""
    detail = "the job did not end within its deadline or the time that jobs are given"
    return problem("timeout", detail, instance=f"/jobs/{job.id}", request_id=job.request_id)
