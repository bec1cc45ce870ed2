"""Job: the record of one Scenario's way through the house, and the only ways it may move.

Every move is one conditional UPDATE that names the states it may leave, with an event row in the same
transaction: whoever comes second changes nothing and is told so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, insert, select, update

from assembler.scenario import Scenario
from service.ids import new_id
from service.inserts import Insert
from service.outbox import is_heard, tell_of_job
from service.scopes import DEFAULT_TENANT
from service.state import DONE as DONE
from service.state import State as State
from service.tables import ended_jobs, job_events, jobs

MOVES: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.EXPIRED}),
    # Back to queued when its worker is gone.
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.QUEUED, State.CANCELLING}),
    # What its worker makes of it no longer counts.
    State.CANCELLING: frozenset({State.CANCELLED}),
    **{state: frozenset() for state in DONE},
}


# How long the worker of a job that is to be cancelled has for it; then the job is cancelled all the same.
CANCEL_S = 8.0
# Where a PostgreSQL server tells which job has an event.
CHANNEL = "nnf_jobs"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the table of jobs; times are seconds since 1970 UTC."""

    id: str
    model_id: str
    state: State
    phase: str | None
    progress: float
    phases: list[dict[str, Any]]
    attempt: int
    crashes: int
    scenario: dict[str, Any]
    scenario_digest: str | None
    reused_from: str | None
    request_id: str
    worker: str | None
    lease_until: float | None
    deadline_at: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    batch_id: str | None = None
    tenant: str = DEFAULT_TENANT
    traceparent: str | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state in DONE


@dataclass(frozen=True, slots=True)
class Hold:
    """The right of one worker to move one job, until a newer attempt takes it away."""

    job_id: str
    worker: str
    attempt: int


@dataclass(frozen=True, slots=True)
class JobEvent:
    """What happened to a job ``at`` a time, s since 1970 UTC: ``state``, ``phase``, ``progress`` or ``done``."""

    id: int
    job_id: str
    at: float
    kind: str
    data: dict[str, Any]

    @property
    def ends(self) -> bool:
        """Whether nothing will come after it."""
        return self.kind == "done"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs are listed: those that meet everything that is set.

    ``labels`` are pairs of key and value, the value None for any; ``created_after`` is s since 1970 UTC, compared
    with the time as clients are told it, in whole milliseconds.
    """

    state: State | None = None
    device: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    created_after: float | None = None
    batch: str | None = None


EVERY = Filter()
# What is not set when a job is inserted.
_NOTHING: dict[str, Any] = dict.fromkeys(jobs.c.keys())
# Made once: to compose a statement takes longer than to run it.
_insert = Insert(
    jobs,
    (
        *(
            "id",
            "model_id",
            "tenant",
            "batch_id",
            "state",
            "progress",
            "phases",
            "attempt",
            "crashes",
            "scenario",
        ),
        *("scenario_digest", "request_id", "traceparent", "deadline_at", "created_at"),
    ),
)
_insert_events = Insert(job_events, ("job_id", "at", "kind", "data"))
_OF_TENANT = select(jobs).where(jobs.c.id == bindparam("wanted"), jobs.c.tenant == bindparam("owner"))


def add_job(
    connection: Connection,
    scenario: Scenario,
    *,
    digest: str | None,
    request_id: str,
    now: float,
    tenant: str = DEFAULT_TENANT,
    traceparent: str | None = None,
) -> Job:
    """Insert a queued job and return it.

    Args:
        connection: a writing transaction.
        scenario: parsed and resolvable.
        digest: of the scenario, None when the device's profile is not known yet.
        request_id: of the request that brings it.
        now: s.
        tenant: whose it is.
        traceparent: names the span of that request, where there is one.
    """
    wanted = [(scenario, digest)]
    owner: dict[str, Any] = {"request_id": request_id, "tenant": tenant, "traceparent": traceparent}
    (job,) = add_jobs(connection, wanted, batch_id=None, now=now, **owner)
    return job


def add_jobs(
    connection: Connection,
    wanted: Sequence[tuple[Scenario, str | None]],
    *,
    batch_id: str | None,
    request_id: str,
    now: float,
    tenant: str,
    traceparent: str | None = None,
) -> list[Job]:
    """Insert queued jobs and return them.

    Arguments are those of ``add_job``, scenarios with their digests.
    """
    owner = {"batch_id": batch_id, "tenant": tenant, "traceparent": traceparent}
    rows = [_queued(scenario, digest, request_id, now) | owner for scenario, digest in wanted]
    _insert(connection, rows)
    event = {"at": now, "kind": "state", "data": {"state": State.QUEUED}}
    _insert_events(connection, [{"job_id": row["id"], **event} for row in rows])
    return [_job(_NOTHING | row) for row in rows]


def _queued(scenario: Scenario, digest: str | None, request_id: str, now: float) -> dict[str, Any]:
    deadline_at = None if scenario.deadline_s is None else now + scenario.deadline_s
    return {
        "id": new_id("job"),
        "model_id": new_id("mdl"),
        "state": State.QUEUED,
        "progress": 0.0,
        "phases": [],
        "attempt": 0,
        "crashes": 0,
        "scenario": scenario.model_dump(mode="json"),
        "scenario_digest": digest,
        "request_id": request_id,
        "deadline_at": deadline_at,
        "created_at": now,
    }


def get_job(connection: Connection, job_id: str) -> Job | None:
    """Return a job of any tenant, or None when there is none of this id; clients are given those of ``find_job``."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
    return None if row is None else _job(row)


def find_job(connection: Connection, tenant: str, job_id: str) -> Job | None:
    """Return a tenant's job, or None when it has none of this id."""
    row = connection.execute(_OF_TENANT, {"wanted": job_id, "owner": tenant}).mappings().first()
    return None if row is None else _job(row)


def list_jobs(
    connection: Connection, tenant: str, *, only: Filter = EVERY, before: str | None = None, limit: int
) -> list[Job]:
    """Return a tenant's jobs, newest first.

    Args:
        connection: any transaction.
        tenant: whose.
        only: which jobs.
        before: only jobs older than the one of this id.
        limit: at most this many.
    """
    query: Select[Any] = (
        select(jobs)
        .where(jobs.c.tenant == tenant, *_conditions(only))
        .order_by(jobs.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [_job(row) for row in connection.execute(query).mappings()]


def count_jobs(connection: Connection, tenant: str) -> dict[State, int]:
    """Return how many of a tenant's jobs are in each state."""
    query = select(jobs.c.state, func.count()).where(jobs.c.tenant == tenant).group_by(jobs.c.state)
    found = {State(state): count for state, count in connection.execute(query)}
    return {state: found.get(state, 0) for state in State}


def move(
    connection: Connection, job_id: str, to: State, *, now: float, hold: Hold | None = None, **values: Any
) -> bool:
    """Move a job to another state if it may go there, and say whether it did.

    Args:
        connection: a writing transaction.
        job_id: the job.
        to: the new state.
        now: s.
        hold: when given, only if this worker still holds the job in this attempt.
        values: further columns to set.
    """
    if to in DONE:
        values = {"finished_at": now, "worker": None, "lease_until": None, **values}
    if to is State.QUEUED:
        values = {"phase": None, **values}
    query = update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(_sources(to)))
    if hold is not None:
        query = query.where(jobs.c.worker == hold.worker, jobs.c.attempt == hold.attempt)
    if connection.execute(query.values(state=to, **values)).rowcount != 1:
        return False
    kind = "done" if to in DONE else "state"
    add_event(connection, job_id, kind, {"state": to}, now=now)
    if to in DONE:
        connection.execute(insert(ended_jobs).values(job_id=job_id))
        _tell_of_end(connection, job_id, now=now)
    return True


def cancel(connection: Connection, job_id: str, *, now: float) -> bool:
    """End a queued job at once, ask the worker of a running one to end it; say whether there was anything to do."""
    # Between the two a worker may have taken it.
    bounded: dict[str, Any] = {"lease_until": now + CANCEL_S}
    for source, to, values in (
        (State.QUEUED, State.CANCELLED, {}),
        (State.RUNNING, State.CANCELLING, bounded),
    ):
        job = get_job(connection, job_id)
        if job is not None and job.state is source and move(connection, job_id, to, now=now, **values):
            return True
    return False


def add_event(connection: Connection, job_id: str, kind: str, data: dict[str, Any], *, now: float) -> None:
    """Insert an event: ``state``, ``phase``, ``progress`` or ``done``."""
    _insert_events(connection, [{"job_id": job_id, "at": now, "kind": kind, "data": data}])
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, job_id)))


def list_events(connection: Connection, job_id: str) -> list[JobEvent]:
    """Return a job's events, oldest first."""
    query = select(job_events).where(job_events.c.job_id == job_id).order_by(job_events.c.id)
    return [JobEvent(**row) for row in connection.execute(query).mappings()]


def events_of(connection: Connection, job_ids: Sequence[str]) -> list[JobEvent]:
    """Return the events of some jobs, oldest first."""
    query = select(job_events).where(job_events.c.job_id.in_(job_ids)).order_by(job_events.c.id)
    return [JobEvent(**row) for row in connection.execute(query).mappings()]


def events_after(connection: Connection, event_id: int, *, limit: int) -> list[JobEvent]:
    """Return the first events of all jobs after the one of this id, at most ``limit``, oldest first."""
    query = select(job_events).where(job_events.c.id > event_id).order_by(job_events.c.id).limit(limit)
    return [JobEvent(**row) for row in connection.execute(query).mappings()]


def last_event_id(connection: Connection) -> int:
    """Return the id of the newest event of all, 0 where there is none."""
    return int(connection.scalar(select(func.max(job_events.c.id))) or 0)


def _tell_of_end(connection: Connection, job_id: str, *, now: float) -> None:
    whose = select(jobs.c.tenant).where(jobs.c.id == job_id).scalar_subquery()
    if is_heard(connection, whose) and (job := get_job(connection, job_id)) is not None:
        tell_of_job(connection, job, now=now)


def _conditions(only: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if only.state is not None:
        found.append(jobs.c.state == only.state)
    if only.device is not None:
        found.append(jobs.c.scenario["device"].as_string() == only.device)
    for key, value in only.labels:
        label = jobs.c.scenario["labels"][key].as_string()
        found.append(label.is_not(None) if value is None else label == value)
    if only.batch is not None:
        found.append(jobs.c.batch_id == only.batch)
    if only.created_after is not None:
        after_ms = round(only.created_after * 1e6) // 1000
        found.append(jobs.c.created_at >= (after_ms + 1) / 1000)
    return found


def _sources(to: State) -> list[State]:
    return [state for state, targets in MOVES.items() if to in targets]


def _job(row: Mapping[Any, Any]) -> Job:
    return Job(**{**row, "state": State(row["state"])})
