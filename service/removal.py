"""Removal: a model goes with its artifacts, and what is old goes by itself. Files follow when nobody wants them."""

from typing import Any

from sqlalchemy import Connection, Select, delete, exists, insert, select

from service.contents import decide_alone, doom
from service.errors import Refused
from service.ids import first_id
from service.jobs import DONE, State
from service.outbox import tell
from service.tables import artifacts, content_pins, gone_artifacts, job_events, jobs, models, reports
from service.webhooks import Kind

# So long it is said of an artifact that it was there once.
REMEMBERED_S = 366 * 24 * 3600.0


def delete_model(connection: Connection, tenant: str, model_id: str, *, now: float) -> None:
    """Delete a model with its artifacts.

    Args:
        connection: a writing transaction.
        tenant: whose it must be.
        model_id: the model.
        now: s.

    Raises:
        Refused: ``not-found``; or ``model-not-finished``, its job has not ended.
    """
    if _remove(connection, tenant, model_id, now=now):
        return
    job = select(jobs.c.state).where(jobs.c.model_id == model_id, jobs.c.tenant == tenant)
    state = connection.scalar(job)
    if state is not None and State(state) not in DONE:
        raise Refused("model-not-finished", f"the model's job is {state}; cancel it first")
    raise Refused("not-found", "there is no such model")


def is_gone(connection: Connection, tenant: str, artifact_id: str) -> bool:
    """Return whether an artifact was there and was deleted."""
    query = select(gone_artifacts.c.id).where(
        gone_artifacts.c.id == artifact_id, gone_artifacts.c.tenant == tenant
    )
    return connection.execute(query).first() is not None


def retire(connection: Connection, *, before: float, now: float, limit: int) -> int:
    """Delete some of the models and then of the jobs that are from before a time, s; return how many of both."""
    decide_alone(connection)
    rows = connection.execute(_old_models(before).limit(limit)).all()
    removed = sum(_remove(connection, row.tenant, row.id, now=now) for row in rows)
    ended = list(connection.scalars(_old_jobs(before).limit(limit)))
    connection.execute(delete(job_events).where(job_events.c.job_id.in_(ended)))
    connection.execute(delete(content_pins).where(content_pins.c.job_id.in_(ended)))
    return removed + connection.execute(delete(jobs).where(jobs.c.id.in_(ended))).rowcount


def has_old(connection: Connection, *, before: float) -> bool:
    """Return whether ``retire`` would find anything; this only reads."""
    queries = (_old_models(before), _old_jobs(before))
    return any(connection.execute(query.limit(1)).first() is not None for query in queries)


def forget_gone(connection: Connection, *, before: float) -> int:
    """Forget which artifacts were deleted before a time, s since 1970 UTC; return how many there were."""
    return connection.execute(delete(gone_artifacts).where(gone_artifacts.c.at < before)).rowcount


def _remove(connection: Connection, tenant: str, model_id: str, *, now: float) -> bool:
    """Delete a model and doom its files; say whether it was there."""
    decide_alone(connection)
    model = models.c.id == model_id, models.c.tenant == tenant
    found = connection.execute(select(models.c.job_id).where(*model)).first()
    if found is None:
        return False
    files = connection.execute(
        delete(artifacts)
        .where(artifacts.c.model_id == model_id)
        .returning(artifacts.c.id, artifacts.c.sha256)
    ).all()
    connection.execute(delete(reports).where(reports.c.artifact_id.in_([one.id for one in files])))
    if files:
        gone = [{"id": one.id, "tenant": tenant, "at": now} for one in files]
        connection.execute(insert(gone_artifacts), gone)
    connection.execute(delete(models).where(*model))
    doom(connection, [one.sha256 for one in files], now=now)
    data = {"id": model_id, "job_id": found.job_id, "artifacts": sorted(one.id for one in files)}
    tell(connection, tenant, Kind.MODEL_DELETED, data, now=now)
    return True


# Ids sort by time: without them, every row would be looked at each time.
def _old_models(before: float) -> Select[Any]:
    query = select(models.c.id, models.c.tenant).where(models.c.id < first_id("mdl", before))
    return query.where(models.c.created_at < before).order_by(models.c.id)


def _old_jobs(before: float) -> Select[Any]:
    query = select(jobs.c.id).where(jobs.c.id < first_id("job", before), jobs.c.finished_at < before)
    has_model = exists().where(models.c.job_id == jobs.c.id)
    return query.where(jobs.c.state.in_(DONE), ~has_model).order_by(jobs.c.id)
