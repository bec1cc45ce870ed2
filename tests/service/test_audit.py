import asyncio
import time
from dataclasses import replace

from sqlalchemy import Engine

from service.app import create_app
from service.audit import Action, Actor, forget_entries, has_old_entries, list_entries, note
from service.db import reading, writing
from service.house import House
from tests.servers import ON_BOTH_DATABASES

pytestmark = ON_BOTH_DATABASES
ACTOR = Actor("key_1", "10.0.0.1", "req_1")


def test_what_was_done_is_read_newest_first_and_by_tenant_kind_and_key(engine: Engine) -> None:
    with writing(engine) as connection:
        note(connection, Action.JOB_SUBMITTED, ACTOR, tenant="acme", target="job_1", now=1.0)
        note(
            connection,
            Action.BATCH_SUBMITTED,
            Actor("key_2"),
            tenant="acme",
            target="bat_1",
            count=9,
            now=2.0,
        )
        note(
            connection, Action.AUTHENTICATION_FAILED, Actor(), tenant=None, count=7, detail="unknown", now=3.0
        )
        failed, batch, job = list_entries(connection, None, limit=10)
        assert [failed.count, batch.count, job.count] == [7, 9, 1]
        assert (job.tenant, job.key_id, job.target) == ("acme", "key_1", "job_1")
        assert (job.address, job.request_id, job.at) == ("10.0.0.1", "req_1", 1.0)
        assert list_entries(connection, "acme", limit=10) == [batch, job]
        assert list_entries(connection, "acme", limit=1) == [batch]
        assert list_entries(connection, "acme", before=batch.id, limit=9) == [job]
        assert list_entries(connection, "acme", action=Action.JOB_SUBMITTED, limit=9) == [job]
        assert list_entries(connection, "acme", key_id="key_2", limit=9) == [batch]
        assert list_entries(connection, "zeta", limit=9) == []


def test_a_service_forgets_what_is_older_than_it_keeps(house: House) -> None:
    now = time.time()
    with writing(house.engine) as connection:
        for age_days in (3, 1):
            note(connection, Action.JOB_SUBMITTED, ACTOR, tenant="acme", now=now - age_days * 24 * 3600)
    app = create_app(replace(house, settings=replace(house.settings, audit_days=2.0)))

    async def live() -> None:
        async with app.router.lifespan_context(app):
            async with asyncio.timeout(20.0):
                while await house.database.read(lambda one: len(list_entries(one, "acme", limit=9))) > 1:
                    await asyncio.sleep(0.02)

    def count() -> int:
        with reading(house.engine) as connection:
            return len(list_entries(connection, "acme", limit=9))

    assert count() == 2
    asyncio.run(live())
    assert count() == 1


def test_what_is_old_is_forgotten(engine: Engine) -> None:
    with writing(engine) as connection:
        for now in (1.0, 2.0):
            note(connection, Action.JOB_SUBMITTED, ACTOR, tenant="acme", now=now)
        assert not has_old_entries(connection, before=1.0)
        assert has_old_entries(connection, before=2.0)
        assert forget_entries(connection, before=2.0) == 1
        assert [entry.at for entry in list_entries(connection, "acme", limit=9)] == [2.0]
