"""The backlog: how many jobs wait, known without counting them at every request.

It is counted once a beat, and in between only goes up, by what this process accepts.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, func, select

from service.errors import Refused
from service.jobs import Job, State
from service.queue import FULL_RETRY_S, queued_count, typical_duration_s
from service.tables import jobs

STALE_S = 1.0
# Beyond so many a place in the queue is estimated from the time when the job came.
COUNTED = 1000
# Below this share of what may wait, the count of a moment ago is good enough.
PLENTY = 0.9


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued job stands: jobs of its tenant before it, and the seconds until it ends, estimated."""

    position: int
    eta_s: float


@dataclass(slots=True)
class Backlog:
    """How many jobs of each tenant wait, and how long one takes, as of a moment ago; for one process."""

    tenants: dict[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    counted_at: float = float("-inf")

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(self.tenants.values())

    @property
    def stale(self) -> bool:
        """Whether it is to be counted again."""
        return time.monotonic() - self.counted_at > STALE_S

    def add(self, tenant: str, count: int) -> None:
        """Take account of jobs that this process has accepted."""
        self.tenants[tenant] = self.tenants.get(tenant, 0) + count

    def demand_room(self, connection: Connection, count: int, limit: int) -> None:
        """Check that so many more jobs may wait.

        Raises:
            Refused: ``queue-full``, more than ``limit`` would.
        """
        if not self.stale and self.waiting + count <= PLENTY * limit:
            return
        if queued_count(connection) + count > limit:
            headers = {"Retry-After": str(FULL_RETRY_S)}
            raise Refused("queue-full", "too many jobs are waiting", headers=headers)

    def last_place(self, connection: Connection, tenant: str) -> Place:
        """Return the place of a job that is about to come."""
        if self.stale:
            count_backlog(connection, self)
        return self._place(self.tenants.get(tenant, 0), self.waiting)

    def places(self, connection: Connection, found: Sequence[Job], *, now: float) -> dict[str, Place]:
        """Return the places of those of some jobs, all of one tenant, that are queued.

        Args:
            connection: any transaction.
            found: the jobs, as they were read in it.
            now: s.
        """
        queued = [job for job in found if job.state is State.QUEUED]
        if not queued:
            return {}
        if self.stale:
            count_backlog(connection, self)
        tenant = queued[0].tenant
        own = _ranks(connection, queued, self.tenants.get(tenant, 0), now, jobs.c.tenant == tenant)
        among_all = _ranks(connection, queued, self.waiting, now)
        return {job.id: self._place(own[job.id], among_all[job.id]) for job in queued}

    def _place(self, before: int, before_of_all: int) -> Place:
        return Place(before, round((before_of_all + 1) * self.duration_s, 3))


def count_backlog(connection: Connection, backlog: Backlog) -> None:
    """Count what waits now."""
    query = (
        select(jobs.c.tenant, func.count().label("waiting"))
        .where(jobs.c.state == State.QUEUED)
        .group_by(jobs.c.tenant)
    )
    backlog.tenants = {row.tenant: row.waiting for row in connection.execute(query)}
    backlog.duration_s = typical_duration_s(connection)
    backlog.counted_at = time.monotonic()


def _ranks(
    connection: Connection, found: Sequence[Job], waiting: int, now: float, *among: ColumnElement[bool]
) -> dict[str, int]:
    """Return how many queued jobs stand before each of these."""
    first = select(jobs.c.id, jobs.c.created_at).where(jobs.c.state == State.QUEUED, *among)
    oldest = first.order_by(jobs.c.id).limit(COUNTED).subquery()
    number = func.row_number().over(order_by=oldest.c.id).label("number")
    numbered = select(oldest.c.id, number).subquery()
    rows = connection.execute(select(numbered).where(numbered.c.id.in_([job.id for job in found])))
    ranks = {row.id: row.number - 1 for row in rows}
    if len(ranks) < len(found):
        last_at = connection.scalar(select(func.max(oldest.c.created_at))) or now
        for job in found:
            if job.id not in ranks:
                share = (job.created_at - last_at) / max(now - last_at, 1e-3)
                ranks[job.id] = COUNTED + round(max(0, waiting - COUNTED) * min(1.0, max(0.0, share)))
    return ranks
