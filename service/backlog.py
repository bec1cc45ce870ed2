"""The backlog: how many jobs wait, known without counting them at every request.

It is counted once a beat; in between only what this process accepts is added.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from service.errors import Refused
from service.jobs import Job, State
from service.queue import FULL_RETRY_S, demand_chance, queued_count, typical_duration_s
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
    """How many jobs of each tenant wait, which come first, and how long one takes, as of a moment ago.

    For one process. ``first`` has the jobs at the head of the queue and those that this process has accepted since: how
    many of its tenant stand before each, and how many of all; ``last_at`` is when the last one of the head came.
    """

    tenants: dict[str, int] = field(default_factory=dict)
    first: dict[str, tuple[int, int]] = field(default_factory=dict)
    last_at: float = 0.0
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

    def add(self, tenant: str, job_ids: Sequence[str]) -> None:
        """Take account of jobs that this process has accepted."""
        own, of_all = self.tenants.get(tenant, 0), self.waiting
        for number, job_id in enumerate(job_ids):
            self.first[job_id] = (own + number, of_all + number)
        self.tenants[tenant] = own + len(job_ids)

    def demand_room(self, connection: Connection, count: int, limit: int) -> None:
        """Check that so many more jobs may wait.

        Raises:
            Refused: ``queue-full``, more than ``limit`` would; ``batch-too-large``, they are more than that.
        """
        demand_chance(count, limit)
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
        """Return the places of those of some jobs that are queued.

        Args:
            connection: any transaction.
            found: the jobs, as they were read in it.
            now: s.
        """
        queued = [job for job in found if job.state is State.QUEUED]
        if queued and self.stale:
            count_backlog(connection, self)
        return {job.id: self._place(*(self.first.get(job.id) or self._estimate(job, now))) for job in queued}

    def _estimate(self, job: Job, now: float) -> tuple[int, int]:
        """Return about how many jobs stand before one that is not at the head, by when it came."""
        share = min(1.0, max(0.0, (job.created_at - self.last_at) / max(now - self.last_at, 1e-3)))
        own, of_all = self.tenants.get(job.tenant, 1), self.waiting
        counted = min(COUNTED, of_all)
        # Those of a tenant are taken to be spread evenly over the queue.
        before = counted + round((of_all - counted) * share)
        return round(before * own / max(of_all, 1)), before

    def _place(self, before: int, before_of_all: int) -> Place:
        return Place(before, round((before_of_all + 1) * self.duration_s, 3))


def count_backlog(connection: Connection, backlog: Backlog) -> None:
    """Count what waits now."""
    waiting = jobs.c.state == State.QUEUED
    query = select(jobs.c.tenant, func.count().label("waiting")).where(waiting).group_by(jobs.c.tenant)
    head = select(jobs.c.id, jobs.c.tenant, jobs.c.created_at).where(waiting)
    seen: Counter[str] = Counter()
    first: dict[str, tuple[int, int]] = {}
    last_at = 0.0
    for number, row in enumerate(connection.execute(head.order_by(jobs.c.id).limit(COUNTED))):
        first[row.id] = (seen[row.tenant], number)
        seen[row.tenant] += 1
        last_at = row.created_at
    backlog.tenants = {row.tenant: row.waiting for row in connection.execute(query)}
    backlog.first, backlog.last_at = first, last_at
    backlog.duration_s = typical_duration_s(connection)
    backlog.counted_at = time.monotonic()
