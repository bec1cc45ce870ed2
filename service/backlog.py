"""The backlog: how many jobs wait, known without counting them at every request.

It is counted once a beat; in between only what this process accepts is added.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from service.db import now_in
from service.errors import Refused
from service.jobs import Job, State
from service.queue import FULL_RETRY_S, demand_chance, queued_count, typical_duration_s
from service.refining import left_s, waiting_s
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


@dataclass(frozen=True, slots=True)
class Standing:
    """What a queued job waits for: jobs of its tenant and of all, and s of refining, its own among them."""

    own: int
    of_all: int
    refining_s: float


@dataclass(slots=True)
class Backlog:
    """How many jobs of each tenant wait, which come first, and how long one takes, as of a moment ago.

    For one process. ``first`` has the jobs at the head of the queue and those that this process has accepted since;
    ``last_at`` is when the last one of the head came. All that wait will be refined for ``refining_s``, those that
    workers have taken for ``left_s``; ``duration_s`` is what one takes without that.
    """

    tenants: dict[str, int] = field(default_factory=dict)
    first: dict[str, Standing] = field(default_factory=dict)
    last_at: float = 0.0
    refining_s: float = 0.0
    left_s: float = 0.0
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

    def add(self, tenant: str, refining_s: Mapping[str, float]) -> None:
        """Take account of jobs that this process has accepted, by their ids with s of refining."""
        own, of_all = self.tenants.get(tenant, 0), self.waiting
        for number, (job_id, seconds) in enumerate(refining_s.items()):
            self.refining_s += seconds
            self.first[job_id] = Standing(own + number, of_all + number, self.refining_s)
        self.tenants[tenant] = own + len(refining_s)

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

    def last_place(self, connection: Connection, tenant: str, refining_s: float = 0.0) -> Place:
        """Return the place of a job that is about to come, and will be refined for so long."""
        if self.stale:
            count_backlog(connection, self)
        own, of_all = self.tenants.get(tenant, 0), self.waiting
        return self._place(Standing(own, of_all, self.refining_s + refining_s))

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
        return {job.id: self._place(self.first.get(job.id) or self._estimate(job, now)) for job in queued}

    def _estimate(self, job: Job, now: float) -> Standing:
        """Return about what one waits for that is not at the head, by when it came."""
        share = min(1.0, max(0.0, (job.created_at - self.last_at) / max(now - self.last_at, 1e-3)))
        own, of_all = self.tenants.get(job.tenant, 1), self.waiting
        counted = min(COUNTED, of_all)
        # Those of a tenant, and those that are refined, are taken to be spread evenly over the queue.
        before = counted + round((of_all - counted) * share)
        evenly = before / max(of_all, 1)
        return Standing(round(own * evenly), before, self.refining_s * evenly)

    def _place(self, standing: Standing) -> Place:
        plain_s = (standing.of_all + 1) * self.duration_s
        return Place(standing.own, round(plain_s + self.left_s + standing.refining_s, 3))


def count_backlog(connection: Connection, backlog: Backlog) -> None:
    """Count what waits now."""
    waiting = jobs.c.state == State.QUEUED
    query = select(jobs.c.tenant, func.count().label("waiting")).where(waiting).group_by(jobs.c.tenant)
    facts = (jobs.c.id, jobs.c.tenant, jobs.c.created_at, waiting_s().label("refining_s"))
    head = select(*facts).where(waiting).order_by(jobs.c.id).limit(COUNTED)
    seen: Counter[str] = Counter()
    first: dict[str, Standing] = {}
    last_at = refining_s = 0.0
    for number, row in enumerate(connection.execute(head)):
        refining_s += row.refining_s
        first[row.id] = Standing(seen[row.tenant], number, refining_s)
        seen[row.tenant] += 1
        last_at = row.created_at
    backlog.tenants = {row.tenant: row.waiting for row in connection.execute(query)}
    backlog.first, backlog.last_at = first, last_at
    # Those behind the head are taken to be like it.
    backlog.refining_s = refining_s * max(1.0, backlog.waiting / max(len(first), 1))
    backlog.left_s = left_s(connection, now=now_in(connection))
    backlog.duration_s = typical_duration_s(connection)
    backlog.counted_at = time.monotonic()
