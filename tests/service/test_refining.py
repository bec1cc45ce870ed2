"""How many seconds jobs will be refined: once a build."""

import time

import pytest
from sqlalchemy import Engine, select

from service.db import now_in, reading, writing
from service.jobs import Job, State, add_job, move
from service.queue import claim_next
from service.refining import asked_s, left_s, newcomer_s, refining_s, waiting_s
from service.scopes import DEFAULT_TENANT
from service.tables import jobs
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES

REFINED = scenario(refine={"seconds": 20})


def add(engine: Engine, digest: str | None, *, plain: bool = False, tenant: str = DEFAULT_TENANT) -> Job:
    wanted = scenario() if plain else REFINED
    with writing(engine) as connection:
        return add_job(connection, wanted, digest=digest, request_id="req_1", now=time.time(), tenant=tenant)


def waiting(engine: Engine) -> list[float]:
    """Return the s of all queued jobs, in their order."""
    query = select(waiting_s()).where(jobs.c.state == State.QUEUED).order_by(jobs.c.id)
    with reading(engine) as connection:
        return list(connection.scalars(query))


def newcomer(engine: Engine, digest: str | None, tenant: str = DEFAULT_TENANT) -> float:
    with reading(engine) as connection:
        return newcomer_s(connection, tenant, REFINED, digest)


def test_jobs_tell_what_they_ask_for(engine: Engine) -> None:
    add(engine, "a")
    add(engine, "b", plain=True)
    with reading(engine) as connection:
        assert list(connection.scalars(select(asked_s()).order_by(jobs.c.id))) == [20, 0]
    assert (refining_s(REFINED), refining_s(scenario())) == (20, 0)


def test_what_an_earlier_build_answers_is_not_refined_again(engine: Engine) -> None:
    for digest, tenant in (("a", "acme"), ("a", "acme"), ("b", "acme"), ("a", "zeta"), (None, "acme")):
        add(engine, digest, tenant=tenant)
    add(engine, None, tenant="acme")
    assert waiting(engine) == [20, 0, 20, 20, 20, 20]
    assert [newcomer(engine, digest, "acme") for digest in ("a", "c", None)] == [0, 20, 20]
    assert newcomer(engine, "b", "zeta") == 20


def test_what_a_running_job_builds_is_counted_with_it_and_not_again(engine: Engine) -> None:
    add(engine, "a")
    with writing(engine) as connection:
        began = now_in(connection)
        claim_next(connection, "w", lease_s=10, now=began)
        assert [left_s(connection, now=began + later) for later in (0, 15, 60)] == pytest.approx([20, 5, 0])
    add(engine, "a")
    assert waiting(engine) == [0]
    assert newcomer(engine, "a") == 0


def test_a_job_that_failed_answers_nobody(engine: Engine) -> None:
    add(engine, "a")
    with writing(engine) as connection:
        taken = claim_next(connection, "w", lease_s=10, now=now_in(connection))
        assert taken is not None
        move(connection, taken[1].job_id, State.FAILED, now=now_in(connection), hold=taken[1])
    assert newcomer(engine, "a") == 20
