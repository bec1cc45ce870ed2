"""The queue: which job a worker does next, and what becomes of the jobs of workers that are gone.

A worker holds a job by a lease that it renews while it lives. The attempt number fences: a worker whose lease
was taken away can no longer move the job, whatever it still believes.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from service.db import one_at_a_time
from service.errors import Refused, problem
from service.jobs import Hold, Job, State, add_event, get_job, move
from service.processes import is_alive
from service.refining import asked_s
from service.tables import jobs, workers

MAX_CRASHES = 3
# Workers stopped from outside are not the job's fault, but no job may come back for ever.
MAX_ATTEMPTS = 10
DEFAULT_DURATION_S = 0.5
LATELY = 500
# So many jobs that share one build end in one transaction.
TWINS_AT_ONCE = 50
FULL_RETRY_S = 5
HELD = (State.RUNNING, State.CANCELLING)


def claim_next(
    connection: Connection, worker: str, *, lease_s: float, now: float, job_id: str | None = None
) -> tuple[Job, Hold] | None:
    """Give the oldest job that may run to a worker, or one certain job if that may.

    A job whose twin (same tenant, same scenario digest) is running waits for it; one past its deadline is passed over.
    """
    # Of two twins that two workers take at once, neither would see the other running.
    one_at_a_time(connection, "claim")
    twin = jobs.alias("twin")
    running_twin = select(twin.c.id).where(
        twin.c.tenant == jobs.c.tenant,
        twin.c.scenario_digest == jobs.c.scenario_digest,
        twin.c.state == State.RUNNING,
    )
    query = (
        select(jobs.c.id, jobs.c.attempt)
        .where(jobs.c.state == State.QUEUED, ~running_twin.exists())
        .where((jobs.c.deadline_at.is_(None)) | (jobs.c.deadline_at > now))
        .order_by(jobs.c.id)
        .limit(1)
    )
    if job_id is not None:
        query = query.where(jobs.c.id == job_id)
    return _claim(connection, query, worker, lease_s=lease_s, now=now)


def claim_twin(
    connection: Connection, worker: str, tenant: str, digest: str, *, lease_s: float, now: float
) -> tuple[Job, Hold] | None:
    """Give a tenant's oldest queued job of a scenario digest to a worker that has built just that for it."""
    query = (
        select(jobs.c.id, jobs.c.attempt)
        .where(jobs.c.tenant == tenant, jobs.c.scenario_digest == digest, jobs.c.state == State.QUEUED)
        .where((jobs.c.deadline_at.is_(None)) | (jobs.c.deadline_at > now))
        .order_by(jobs.c.id)
        .limit(1)
    )
    return _claim(connection, query, worker, lease_s=lease_s, now=now)


def fail_twins(
    connection: Connection, job: Job, digest: str, error: dict[str, Any], *, now: float
) -> list[tuple[Job, Hold]]:
    """End some queued jobs of a scenario digest with the error that a job of the same scenario ended with.

    Returns:
        Those that were ended, not more than ``TWINS_AT_ONCE``.
    """
    ended: list[tuple[Job, Hold]] = []
    while len(ended) < TWINS_AT_ONCE:
        taken = claim_twin(connection, job.worker or "", job.tenant, digest, lease_s=0.0, now=now)
        if taken is None:
            break
        twin, hold = taken
        own = {**error, "instance": f"/jobs/{twin.id}", "request_id": twin.request_id}
        move(connection, twin.id, State.FAILED, now=now, hold=hold, error=own)
        ended.append(taken)
    return ended


def _claim(
    connection: Connection, query: Select[Any], worker: str, *, lease_s: float, now: float
) -> tuple[Job, Hold] | None:
    row = connection.execute(query).first()
    if row is None:
        return None
    hold = Hold(job_id=row.id, worker=worker, attempt=row.attempt + 1)
    moved = move(
        connection,
        hold.job_id,
        State.RUNNING,
        now=now,
        worker=worker,
        attempt=hold.attempt,
        lease_until=now + lease_s,
        started_at=now,
        phase=None,
        phases=[],
        progress=0.0,
    )
    job = get_job(connection, hold.job_id)
    return (job, hold) if moved and job is not None else None


def renew(connection: Connection, hold: Hold, *, lease_s: float, now: float) -> State | None:
    """Prolong a worker's lease and return where its job stands, None where it held none any more.

    That of a job which is to be cancelled is not prolonged.
    """
    if _update_held(connection, hold, lease_until=now + lease_s):
        return State.RUNNING
    return State.CANCELLING if _update_held(connection, hold, State.CANCELLING, worker=hold.worker) else None


def give_way(connection: Connection, job: Job, hold: Hold, digest: str, *, now: float) -> bool:
    """Write a digest that was not known when the job was taken, and put the job back if its twin is running."""
    one_at_a_time(connection, "claim")
    running = select(jobs.c.id).where(
        jobs.c.tenant == job.tenant,
        jobs.c.scenario_digest == digest,
        jobs.c.state == State.RUNNING,
        jobs.c.id != job.id,
    )
    if connection.execute(running.limit(1)).first() is None:
        note_digest(connection, hold, digest)
        return False
    return release(connection, hold, now=now, scenario_digest=digest)


def note_digest(connection: Connection, hold: Hold, digest: str) -> bool:
    """Write the scenario digest that the worker found and say whether it still holds the job."""
    return _update_held(connection, hold, scenario_digest=digest)


def note_phases(
    connection: Connection, hold: Hold, phases: Sequence[dict[str, Any]], progress: float, *, now: float
) -> bool:
    """Write how far a job has come (the last phase is the present one); say whether it is still held."""
    phase = phases[-1]["name"]
    noted = _update_held(connection, hold, phases=list(phases), phase=phase, progress=progress)
    if noted:
        add_event(connection, hold.job_id, "phase", {"phase": phase, "progress": progress}, now=now)
    return noted


def note_progress(connection: Connection, hold: Hold, progress: float, *, now: float) -> bool:
    """Write how far a job has come within its present phase; say whether it is still held."""
    noted = _update_held(connection, hold, progress=progress)
    if noted:
        add_event(connection, hold.job_id, "progress", {"progress": progress}, now=now)
    return noted


def release(connection: Connection, hold: Hold, *, now: float, **values: Any) -> bool:
    """Put a job back into the queue that its worker does not go on with."""
    return move(
        connection, hold.job_id, State.QUEUED, now=now, hold=hold, worker=None, lease_until=None, **values
    )


def confirm_cancel(connection: Connection, hold: Hold, *, now: float) -> bool:
    """End a job that is to be cancelled and that its worker works on no longer; say whether it was one."""
    return move(connection, hold.job_id, State.CANCELLED, now=now, hold=hold)


def sweep(connection: Connection, *, now: float) -> int:
    """End queued jobs past their deadline, take jobs away from workers that went silent; return how many."""
    changed = 0
    for job in _select_jobs(connection, State.QUEUED, jobs.c.deadline_at <= now):
        error = _error(job, "deadline-passed", "the deadline passed while the job was waiting")
        changed += move(connection, job.id, State.EXPIRED, now=now, error=error)
    for state in HELD:
        for job in _select_jobs(connection, state, jobs.c.lease_until <= now):
            changed += take_back(connection, job, crashed=True, now=now)
    return changed


def needs_sweep(connection: Connection, *, now: float) -> bool:
    """Return whether ``sweep`` would find anything; this only reads."""
    overdue = (jobs.c.state == State.QUEUED) & (jobs.c.deadline_at <= now)
    silent = jobs.c.state.in_(HELD) & (jobs.c.lease_until <= now)
    return connection.execute(select(jobs.c.id).where(overdue | silent).limit(1)).first() is not None


def take_back(connection: Connection, job: Job, *, crashed: bool, now: float) -> bool:
    """Take a job from a worker that is gone: back to the queue, or to its end if cancelled or tried too often.

    Args:
        connection: a writing transaction.
        job: as it was read in this transaction.
        crashed: whether the job may have brought its worker down, unlike a worker stopped from outside.
        now: s.
    """
    hold = Hold(job.id, job.worker or "", job.attempt)
    if job.state is State.CANCELLING:
        return confirm_cancel(connection, hold, now=now)
    crashes = job.crashes + crashed
    if crashes >= MAX_CRASHES:
        error = _error(job, "poisoned", f"the scenario crashed the worker {crashes} times")
        ended = move(connection, job.id, State.FAILED, now=now, hold=hold, crashes=crashes, error=error)
        if ended and job.scenario_digest is not None:
            fail_twins(connection, job, job.scenario_digest, error, now=now)
        return ended
    if job.attempt >= MAX_ATTEMPTS:
        error = _error(job, "worker-lost", f"the job's worker was lost {job.attempt} times")
        return move(connection, job.id, State.FAILED, now=now, hold=hold, error=error)
    return move(
        connection, job.id, State.QUEUED, now=now, hold=hold, crashes=crashes, worker=None, lease_until=None
    )


def add_worker(connection: Connection, worker: str, *, host: str, pid: int, now: float) -> None:
    """Record that a worker has started."""
    values = {"id": worker, "host": host, "pid": pid, "started_at": now, "seen_at": now, "ready": False}
    connection.execute(insert(workers).values(values))


def beat(connection: Connection, worker: str, *, ready: bool, now: float) -> None:
    """Record that a worker lives, and whether it can take jobs."""
    connection.execute(update(workers).where(workers.c.id == worker).values(seen_at=now, ready=ready))


def has_ready_worker(connection: Connection, *, since: float) -> bool:
    """Return whether a worker that can take jobs was seen since a time."""
    query = select(workers.c.id).where(workers.c.ready, workers.c.seen_at >= since)
    return connection.execute(query.limit(1)).first() is not None


def remove_worker(connection: Connection, worker: str, *, crashed: bool, now: float) -> int:
    """Forget a worker that is gone and take back its jobs; return how many there were."""
    taken = 0
    for state in HELD:
        for job in _select_jobs(connection, state, jobs.c.worker == worker):
            taken += take_back(connection, job, crashed=crashed, now=now)
    connection.execute(delete(workers).where(workers.c.id == worker))
    return taken


def remove_dead_workers(connection: Connection, *, host: str, crashed: bool, now: float) -> int:
    """Remove the workers of this machine whose process is gone, and take back their jobs; return how many."""
    dead = [
        row.id
        for row in connection.execute(select(workers).where(workers.c.host == host))
        if not is_alive(row.pid)
    ]
    return sum(remove_worker(connection, worker, crashed=crashed, now=now) for worker in dead)


def waiting_since(connection: Connection, *, before: float, limit: int) -> list[str]:
    """Return the ids of the oldest jobs that wait since before a time, s."""
    query = select(jobs.c.id).where(jobs.c.state == State.QUEUED, jobs.c.created_at < before)
    return list(connection.scalars(query.order_by(jobs.c.id).limit(limit)))


def queued_count(connection: Connection) -> int:
    """Return how many jobs wait."""
    query = select(func.count()).select_from(jobs).where(jobs.c.state == State.QUEUED)
    return int(connection.scalar(query) or 0)


def demand_chance(count: int, limit: int) -> None:
    """Check that so many jobs can wait at all.

    Raises:
        Refused: ``batch-too-large``, more than ``limit``; to try again would not help.
    """
    if count > limit:
        raise Refused(
            "batch-too-large", f"the batch has {count} scenarios, and at most {limit} jobs may wait"
        )


def demand_quota(connection: Connection, tenant: str, count: int, limit: int | None) -> None:
    """Check that so many more jobs of a tenant may wait.

    Raises:
        Refused: ``quota-exceeded``, more than ``limit`` would; ``batch-too-large``, they are more than that.
    """
    if limit is None:
        return
    demand_chance(count, limit)
    # Of two requests at once, neither would see the other's jobs.
    one_at_a_time(connection, f"quota {tenant}")
    query = select(func.count()).where(jobs.c.tenant == tenant, jobs.c.state == State.QUEUED)
    waiting = connection.scalar(query) or 0
    if waiting + count > limit:
        left = max(0, limit - waiting)
        headers = {
            "Retry-After": str(FULL_RETRY_S),
            "RateLimit-Policy": f'"waiting-jobs";q={limit}',
            "RateLimit": f'"waiting-jobs";r={left}',
        }
        detail = f"at most {limit} jobs may wait, there is room for {left} more now"
        raise Refused("quota-exceeded", detail, headers=headers)


def typical_duration_s(connection: Connection) -> float:
    """Return how long the last jobs that succeeded took, on the mean, apart from the time they were refined."""
    duration_s = (jobs.c.finished_at - jobs.c.started_at).label("duration_s")
    # Those that were reused took no time of a worker; there may be very many in a row.
    last = (
        select(duration_s, jobs.c.reused_from, asked_s().label("refining_s"))
        .where(jobs.c.state == State.SUCCEEDED)
        .order_by(jobs.c.id.desc())
        .limit(LATELY)
        .subquery()
    )
    built = connection.execute(select(last).where(last.c.reused_from.is_(None)).limit(20)).all()
    plain_s = [max(0.0, row.duration_s - row.refining_s) for row in built]
    return sum(plain_s) / len(plain_s) if plain_s else DEFAULT_DURATION_S


def _select_jobs(connection: Connection, state: State, condition: Any) -> list[Job]:
    ids = connection.scalars(select(jobs.c.id).where(jobs.c.state == state, condition)).all()
    found = [get_job(connection, job_id) for job_id in ids]
    return [job for job in found if job is not None]


def _update_held(connection: Connection, hold: Hold, state: State = State.RUNNING, **values: Any) -> bool:
    query = update(jobs).where(
        jobs.c.id == hold.job_id,
        jobs.c.state == state,
        jobs.c.worker == hold.worker,
        jobs.c.attempt == hold.attempt,
    )
    return connection.execute(query.values(**values)).rowcount == 1


def _error(job: Job, code: str, detail: str) -> dict[str, Any]:
    return problem(code, detail, instance=f"/jobs/{job.id}", request_id=job.request_id)
