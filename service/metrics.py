"""Metrics for Prometheus: requests of this process, and jobs of the whole service.

What is told of jobs is read from the database, so that every HTTP process tells the same: it must not be added up.
Requests are those of one process, and are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import Connection, func, select

from service.backlog import Backlog
from service.db import now_in
from service.jobs import DONE, State
from service.tables import jobs, workers

REQUEST_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOB_BUCKETS_S = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30, 60, 300)
# What ended is written a moment after the time that it bears.
LATE_S = 5.0
AT_ONCE = 5000
NOWHERE = "none"
SILENT_S = 5.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How the service stands: jobs running, workers ready, how long the oldest job has waited."""

    running: int
    workers: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that has ended: how, after how long, and how long its phases took."""

    id: str
    at: float
    state: State
    code: str
    reused: bool
    waited_s: float | None
    ran_s: float | None
    phases_s: tuple[tuple[str, float], ...]


class Metrics:
    """Figures of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nnfactory_http_requests",
            "Requests that this process has answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.request_s = Histogram(
            "nnfactory_http_request_seconds",
            "Time until an answer began; long-polls and waits included.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self._ended = Counter(
            "nnfactory_jobs_ended",
            "Jobs of the service that have ended since this process started.",
            ["state", "code", "reused"],
            registry=self.registry,
        )
        self._waited_s = Histogram(
            "nnfactory_job_wait_seconds", "Time in the queue.", buckets=JOB_BUCKETS_S, registry=self.registry
        )
        self._ran_s = Histogram(
            "nnfactory_job_run_seconds",
            "Time from the start of the last attempt to the end, of jobs that were built.",
            buckets=JOB_BUCKETS_S,
            registry=self.registry,
        )
        self._phase_s = Histogram(
            "nnfactory_job_phase_seconds",
            "Time that a phase of a job took.",
            ["phase"],
            buckets=JOB_BUCKETS_S,
            registry=self.registry,
        )
        self._gauges = {
            name: Gauge(f"nnfactory_{name}", meaning, registry=self.registry)
            for name, meaning in (
                ("jobs_waiting", "Jobs of the service that wait."),
                ("jobs_running", "Jobs of the service that a worker holds."),
                ("oldest_wait_seconds", "How long the oldest job has waited, 0 where none waits."),
                ("workers_ready", "Workers that can take jobs and were seen lately."),
            )
        }
        build = Gauge("nnfactory_build_info", "The program.", ["version"], registry=self.registry)
        build.labels(version("nn-factory")).set(1)
        self._since: float | None = None
        self._seen: dict[str, float] = {}

    def note_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count an answer; what has no route is told of together."""
        known = method if method in ("GET", "HEAD", "POST", "DELETE") else "other"
        self.requests.labels(known, route or NOWHERE, str(status)).inc()
        self.request_s.labels(known, route or NOWHERE).observe(seconds)

    def read(self, connection: Connection) -> None:
        """Take account of the jobs that have ended since the last time."""
        now = now_in(connection)
        if self._since is None:
            self._since = now
        for job in ended_since(connection, self._since):
            if job.id not in self._seen:
                self._seen[job.id] = job.at
                self._note(job)
        if self._seen:
            newest = max(self._seen.values())
            self._since = max(self._since, newest - LATE_S)
            self._seen = {job: at for job, at in self._seen.items() if at >= self._since}

    def text(self, backlog: Backlog, standing: Standing) -> bytes:
        """Return everything as Prometheus reads it."""
        values: Mapping[str, float] = {
            "jobs_waiting": backlog.waiting,
            "jobs_running": standing.running,
            "oldest_wait_seconds": standing.oldest_s,
            "workers_ready": standing.workers,
        }
        for name, value in values.items():
            self._gauges[name].set(value)
        return generate_latest(self.registry)

    def _note(self, job: EndedJob) -> None:
        self._ended.labels(job.state, job.code, str(job.reused).lower()).inc()
        if job.waited_s is not None:
            self._waited_s.observe(job.waited_s)
        if job.ran_s is not None and not job.reused:
            self._ran_s.observe(job.ran_s)
        for phase, seconds in job.phases_s:
            self._phase_s.labels(phase).observe(seconds)


def ended_since(connection: Connection, at: float) -> list[EndedJob]:
    """Return the jobs that ended at or after a time, s, oldest first; at most so many that a beat is enough."""
    query = (
        select(
            jobs.c.id,
            jobs.c.finished_at,
            jobs.c.state,
            jobs.c.error,
            jobs.c.reused_from,
            jobs.c.created_at,
            jobs.c.started_at,
            jobs.c.phases,
        )
        .where(jobs.c.finished_at >= at)
        .order_by(jobs.c.finished_at)
        .limit(AT_ONCE)
    )
    return [_ended_job(row) for row in connection.execute(query) if State(row.state) in DONE]


def standing_of(connection: Connection) -> Standing:
    """Return how the service stands."""
    now = now_in(connection)
    running = select(func.count()).where(jobs.c.state.in_((State.RUNNING, State.CANCELLING)))
    ready = select(func.count()).where(workers.c.ready, workers.c.seen_at >= now - SILENT_S)
    oldest = select(jobs.c.created_at).where(jobs.c.state == State.QUEUED).order_by(jobs.c.id).limit(1)
    came_at = connection.scalar(oldest)
    return Standing(
        int(connection.scalar(running) or 0),
        int(connection.scalar(ready) or 0),
        0.0 if came_at is None else max(0.0, now - came_at),
    )


def _ended_job(row: Any) -> EndedJob:
    started = row.started_at
    return EndedJob(
        id=row.id,
        at=row.finished_at,
        state=State(row.state),
        code=(row.error or {}).get("code", NOWHERE),
        reused=row.reused_from is not None,
        waited_s=None if started is None else max(0.0, started - row.created_at),
        ran_s=None if started is None else max(0.0, row.finished_at - started),
        phases_s=tuple(
            (phase["name"], phase["duration_ms"] / 1000)
            for phase in row.phases
            if phase["duration_ms"] is not None
        ),
    )
