from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from service.db import reading, writing
from service.errors import Refused
from service.jobs import State, add_job, get_job, move
from service.models import find_twin, get_artifact, get_model, list_artifacts
from service.removal import delete_model, forget_gone, has_old, is_gone, retire
from service.store import FileStore
from service.tables import gone_artifacts, job_events, metadata
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario
from tests.service.publishing import make_model, take

pytestmark = ON_BOTH_DATABASES

# Ids hold the time at which they were made.
LATER = 4e9


def delete(engine: Engine, model_id: str, tenant: str = "default") -> None:
    with writing(engine) as connection:
        delete_model(connection, tenant, model_id, now=5.0)


def test_a_deleted_model_is_gone_with_its_artifacts_which_are_remembered(
    engine: Engine, tmp_path: Path
) -> None:
    job = make_model(engine, FileStore(tmp_path), tenant="acme")
    with reading(engine) as connection:
        (file,) = list_artifacts(connection, job.model_id)
    delete(engine, job.model_id, "acme")
    with reading(engine) as connection:
        assert get_model(connection, "acme", job.model_id) is None
        assert get_artifact(connection, "acme", file.id) is None
        assert is_gone(connection, "acme", file.id)
        assert not is_gone(connection, "default", file.id)
        assert not is_gone(connection, "acme", "art_1")
        assert get_job(connection, job.id) == job


def test_the_model_of_another_tenant_is_none(engine: Engine, tmp_path: Path) -> None:
    job = make_model(engine, FileStore(tmp_path), tenant="acme")
    with pytest.raises(Refused, match="not-found"):
        delete(engine, job.model_id)
    with reading(engine) as connection:
        assert get_model(connection, "acme", job.model_id) is not None


def test_a_model_that_is_not_made_yet_cannot_be_deleted(engine: Engine) -> None:
    with writing(engine) as connection:
        queued = add_job(connection, scenario(), digest=None, request_id="req_1", now=1.0)
        running, hold = take(connection)
    for job in (queued, running):
        with pytest.raises(Refused, match="model-not-finished"):
            delete(engine, job.model_id)
        with pytest.raises(Refused, match="not-found"):
            delete(engine, job.model_id, "acme")
    with writing(engine) as connection:
        move(connection, running.id, State.FAILED, now=2.0, hold=hold)
    with pytest.raises(Refused, match="not-found"):
        delete(engine, running.model_id)


def test_a_model_is_deleted_once(engine: Engine, tmp_path: Path) -> None:
    job = make_model(engine, FileStore(tmp_path))
    delete(engine, job.model_id)
    with pytest.raises(Refused, match="not-found"):
        delete(engine, job.model_id)


def test_a_deleted_model_is_no_twin_and_an_older_one_is(engine: Engine, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    first, second = make_model(engine, store), make_model(engine, store)
    delete(engine, second.model_id)
    with reading(engine) as connection:
        twin = find_twin(connection, "default", "sha256:d")
    assert twin is not None
    assert twin[0].id == first.id
    delete(engine, first.model_id)
    with reading(engine) as connection:
        assert find_twin(connection, "default", "sha256:d") is None


def test_what_is_older_than_wanted_goes_with_all_that_belongs_to_it(engine: Engine, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    old, failed = make_model(engine, store, now=100.0), None
    make_model(engine, store, now=200.0, tenant="acme")
    with writing(engine) as connection:
        failed, hold = take(connection, now=100.0)
        move(connection, failed.id, State.FAILED, now=150.0, hold=hold)
        waiting = add_job(connection, scenario(), digest=None, request_id="req_1", now=1.0)
    with writing(engine) as connection:
        assert not has_old(connection, before=100.0)
        assert has_old(connection, before=LATER)
        # Their ids are of today, whatever the rows say.
        assert retire(connection, before=50.0, now=LATER, limit=10) == 0
        counts = [retire(connection, before=LATER, now=LATER, limit=1) for _ in range(4)]
        assert counts == [2, 2, 1, 0]
        assert not has_old(connection, before=LATER)
        assert get_job(connection, old.id) is None
        assert get_job(connection, failed.id) is None
        assert get_job(connection, waiting.id) == waiting
        left = {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in metadata.sorted_tables
            if table.name in ("models", "artifacts", "content_pins", "job_events", "gone_artifacts")
        }
        assert left == {
            "models": 0,
            "artifacts": 0,
            "content_pins": 0,
            "job_events": len(connection.execute(select(job_events)).all()),
            "gone_artifacts": 2,
        }


def test_deleted_artifacts_are_forgotten_in_time(engine: Engine, tmp_path: Path) -> None:
    job = make_model(engine, FileStore(tmp_path))
    delete(engine, job.model_id)
    with writing(engine) as connection:
        assert forget_gone(connection, before=5.0) == 0
        assert forget_gone(connection, before=6.0) == 1
        assert connection.execute(select(gone_artifacts)).all() == []
