"""Figures: what all jobs that have ended add up to, kept in the database and the same for every process.

A job leaves its id behind in the transaction that ends it. Once a beat an HTTP process takes such ids out and adds
their jobs to the figures, in one transaction: each job counts once, whoever adds, and whatever is removed later.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from service.db import one_at_a_time
from service.errors import CODES
from service.tables import ended_jobs, figures, jobs

AT_ONCE = 500
# Upper bounds of the buckets of all times, s. Figures that are kept were counted by them: others need a migration.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
# So many names of phases are told apart.
MOST_PHASES = 50
OTHER = "other"
NONE = "none"
ENDED, REUSED, WAIT, RUN, PHASE = "ended", "reused", "wait", "run", "phase"


@dataclass(slots=True)
class Figure:
    """How many there were, and of times their sum and how many fell into each bucket, the last one without a bound.

    ``name`` is what is counted. ``label`` and ``detail`` are state and code of jobs that ended, by themselves or with
    the files of another, and the name of a phase.
    """

    name: str
    label: str = ""
    detail: str = ""
    count: int = 0
    sum_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is of."""
        return self.name, self.label, self.detail

    def add(self, duration_s: float | None = None) -> None:
        """Count one more, that took so long."""
        self.count += 1
        if duration_s is not None:
            self.sum_s += max(0.0, duration_s)
            self.buckets[bisect_left(BOUNDS_S, duration_s)] += 1


def read_figures(connection: Connection) -> list[Figure]:
    """Return all figures."""
    query = select(figures).order_by(figures.c.name, figures.c.label, figures.c.detail)
    return [Figure(**row) for row in connection.execute(query).mappings()]


def has_ended(connection: Connection) -> bool:
    """Return whether ``add_up`` would find anything; this only reads."""
    return connection.execute(select(ended_jobs.c.job_id).limit(1)).first() is not None


def add_up(connection: Connection, *, limit: int = AT_ONCE) -> int:
    """Add some of the jobs that have ended to the figures; return how many."""
    one_at_a_time(connection, "figures")
    ids = list(connection.scalars(select(ended_jobs.c.job_id).order_by(ended_jobs.c.job_id).limit(limit)))
    if not ids:
        return 0
    connection.execute(delete(ended_jobs).where(ended_jobs.c.job_id.in_(ids)))
    known = {one.key: one for one in read_figures(connection)}
    there, phases = set(known), {one.label for one in known.values() if one.name == PHASE}
    changed: dict[tuple[str, str, str], Figure] = {}
    for row in connection.execute(_ended(ids)):
        for name, label, detail, duration_s in _facts(row):
            if name == PHASE:
                label = label if label in phases or len(phases) < MOST_PHASES else OTHER
                phases.add(label)
            one = known.setdefault((name, label, detail), Figure(name, label, detail))
            one.add(duration_s)
            changed[one.key] = one
    for one in changed.values():
        _write(connection, one, new=one.key not in there)
    return len(ids)


def _ended(ids: list[str]) -> Any:
    code = jobs.c.error["code"].as_string().label("code")
    times = jobs.c.created_at, jobs.c.started_at, jobs.c.finished_at
    return select(jobs.c.state, jobs.c.phases, jobs.c.reused_from, code, *times).where(jobs.c.id.in_(ids))


def _facts(row: Any) -> Iterator[tuple[str, str, str, float | None]]:
    """Yield name, label, detail and duration of all that one job adds to."""
    reused = row.reused_from is not None
    yield REUSED if reused else ENDED, row.state, row.code if row.code in CODES else NONE, None
    if row.started_at is not None:
        yield WAIT, "", "", row.started_at - row.created_at
        if not reused:
            yield RUN, "", "", row.finished_at - row.started_at
    for phase in row.phases:
        if phase["duration_ms"] is not None:
            yield PHASE, phase["name"], "", phase["duration_ms"] / 1000


def _write(connection: Connection, one: Figure, *, new: bool) -> None:
    values = {"count": one.count, "sum_s": one.sum_s, "buckets": one.buckets}
    if new:
        named = {"name": one.name, "label": one.label, "detail": one.detail}
        connection.execute(insert(figures).values(**named, **values))
        return
    is_it = (figures.c.name == one.name, figures.c.label == one.label, figures.c.detail == one.detail)
    connection.execute(update(figures).where(*is_it).values(**values))
