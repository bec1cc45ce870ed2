"""Metrics for Prometheus: what this process did, and jobs of the whole service.

What is told of jobs and workers is read from the database, so that every HTTP process tells the same: it must not be
added up. All else is of one process, and is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from sqlalchemy import Connection, func, select

from service.db import now_in
from service.figures import BOUNDS_S, ENDED, PHASE, REUSED, RUN, WAIT, Figure, read_figures
from service.jobs import State
from service.queue import HELD, queued_count
from service.tables import jobs, workers

REQUEST_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TIMES = {
    WAIT: ("nnfactory_job_wait_seconds", "Time in the queue, until the last start.", ()),
    RUN: ("nnfactory_job_run_seconds", "Time from the last start to the end, of jobs that were built.", ()),
    PHASE: ("nnfactory_job_phase_seconds", "Time that a phase of a job took.", ("phase",)),
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole service at one moment, as the database tells it; ``oldest_s`` is how long the first job has waited."""

    figures: list[Figure]
    waiting: int
    oldest_s: float
    running: int
    workers: int


class Metrics:
    """What one process counts. All labels are out of closed sets: routes, methods, statuses, codes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "http_requests", "Requests, answered or not.", "method", "route", "status"
        )
        self.request_s = Histogram(
            "nnfactory_http_request_seconds",
            "Time until an answer began; long-polls and waits included.",
            ["method", "route", "status"],
            buckets=REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.problems = self._counter("problems", "Answers that were problems.", "code")
        self.submitted = self._counter("submitted_jobs", "Jobs that were accepted.", "route")
        self.downloaded = self._counter("downloaded_bytes", "Bytes of artifacts that were sent.")
        self.store_errors = self._counter("store_errors", "Uses of the artifact store that failed.")
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        build = Gauge("nnfactory_build_info", "The program.", ["version"], registry=self.registry)
        build.labels(version("nn-factory")).set(1)
        ProcessCollector(registry=self.registry)

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        counted, timed = self._of(method, route, status)
        counted.inc()
        timed.observe(seconds)

    def _of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        """Return what counts and times the requests of some labels; these are few, and looked up slowly."""
        found = self._known.get((method, route, status))
        if found is None:
            labels = method, route, str(status)
            found = self.requests.labels(*labels), self.request_s.labels(*labels)
            self._known[method, route, status] = found
        return found

    def note_problem(self, code: str) -> None:
        """Count an answer that is a problem."""
        self.problems.labels(code).inc()
        if code == "storage-unavailable":
            self.store_errors.inc()

    def text(self, database_errors: int, snapshot: Snapshot | None) -> bytes:
        """Return everything as Prometheus reads it.

        Args:
            database_errors: how often this process could not use the database.
            snapshot: of the whole service; None while the database cannot be read.
        """
        return generate_latest(_Page(self.registry, database_errors, snapshot))

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"nnfactory_{name}", meaning, labels, registry=self.registry)


def take_snapshot(connection: Connection, silent_s: float) -> Snapshot:
    """Return what the database tells now; what that costs does not grow with the jobs that have ended.

    Args:
        connection: any transaction.
        silent_s: workers that were not seen for so long do not count, s.
    """
    now = now_in(connection)
    oldest = select(jobs.c.created_at).where(jobs.c.state == State.QUEUED).order_by(jobs.c.id).limit(1)
    running = select(func.count()).select_from(jobs).where(jobs.c.state.in_(HELD))
    ready = (
        select(func.count()).select_from(workers).where(workers.c.ready, workers.c.seen_at >= now - silent_s)
    )
    came_at = connection.scalar(oldest)
    return Snapshot(
        read_figures(connection),
        queued_count(connection),
        0.0 if came_at is None else max(0.0, now - came_at),
        connection.scalar(running) or 0,
        connection.scalar(ready) or 0,
    )


class _Page:
    """Everything that is told at once; what is written out as a registry would be."""

    def __init__(self, registry: CollectorRegistry, database_errors: int, snapshot: Snapshot | None) -> None:
        self._registry = registry
        self._database_errors = database_errors
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield from self._registry.collect()
        errors = "Uses of the database that failed because it could not be reached."
        yield CounterMetricFamily("nnfactory_database_errors", errors, value=self._database_errors)
        up = "Whether the database could be read now; without it nothing is told of jobs."
        yield GaugeMetricFamily("nnfactory_database_up", up, self._snapshot is not None)
        if self._snapshot is not None:
            yield from _families(self._snapshot)


def _families(found: Snapshot) -> Iterator[Metric]:
    for name, meaning, value in (
        ("jobs_waiting", "Jobs of the service that wait.", found.waiting),
        ("jobs_running", "Jobs of the service that a worker holds.", found.running),
        ("oldest_wait_seconds", "How long the oldest job has waited, 0 where none waits.", found.oldest_s),
        ("workers_ready", "Workers that can take jobs and were seen lately.", found.workers),
    ):
        yield GaugeMetricFamily(f"nnfactory_{name}", meaning, value)
    meaning = "Jobs of the service that have ended."
    ended = CounterMetricFamily("nnfactory_jobs_ended", meaning, labels=("state", "code", "reused"))
    for one in found.figures:
        if one.name in (ENDED, REUSED):
            ended.add_metric((one.label, one.detail, str(one.name == REUSED).lower()), one.count)
    yield ended
    for kind, (name, meaning, labels) in TIMES.items():
        family = HistogramMetricFamily(name, meaning, labels=labels)
        for one in found.figures:
            if one.name == kind:
                family.add_metric((one.label,) if labels else (), _buckets(one), one.sum_s)
        yield family


def _buckets(one: Figure) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus has them: each holds those before it."""
    found, so_far = [], 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), one.buckets, strict=True):
        so_far += count
        found.append((bound, float(so_far)))
    return found
