"""Models that stand in the database and whose files stand in a store, without a worker."""

import time

from sqlalchemy import Connection, Engine

from service.contents import pin
from service.db import writing
from service.jobs import Hold, Job, add_job, get_job
from service.models import Ending, outcome_of, publish
from service.queue import claim_next
from service.store import Store
from tests.service.making import make_assembly, scenario


def take(connection: Connection, *, now: float = 1.0, tenant: str = "default") -> tuple[Job, Hold]:
    """Return a job that a worker has taken."""
    job = add_job(connection, scenario(), digest=None, request_id="req_1", now=now, tenant=tenant)
    taken = claim_next(connection, f"wrk of {job.id}", lease_s=1e9, now=now, job_id=job.id)
    assert taken is not None
    return taken


def publish_content(connection: Connection, taken: tuple[Job, Hold], content: bytes, *, now: float) -> bool:
    """Publish a model whose file has this content, as far as the database is concerned."""
    return publish(connection, *taken, Ending(outcome_of(make_assembly(content)), "sha256:d", []), now=now)


def make_model(
    engine: Engine,
    store: Store,
    content: bytes = b"onnx",
    *,
    now: float | None = None,
    tenant: str = "default",
) -> Job:
    """Return the job of a model that is there, file and all."""
    now = time.time() if now is None else now
    with writing(engine) as connection:
        taken = take(connection, now=now, tenant=tenant)
        assert pin(connection, taken[1], [store.put(content)], now=now)
        assert publish_content(connection, taken, content, now=now)
        job = get_job(connection, taken[0].id)
    assert job is not None
    return job
