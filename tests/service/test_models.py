import pytest
from sqlalchemy import Engine

from service.db import reading, writing
from service.jobs import Hold, Job, State, add_job, get_job
from service.models import (
    Ending,
    find_twin,
    get_artifact,
    get_model,
    list_artifacts,
    list_models,
    outcome_of,
    publish,
)
from service.queue import claim_next
from service.scopes import DEFAULT_TENANT
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import make_assembly, scenario

pytestmark = ON_BOTH_DATABASES

ENDING = Ending(outcome_of(make_assembly(b"onnx")), "sha256:d", [])


def claimed(engine: Engine) -> tuple[Job, Hold]:
    with writing(engine) as connection:
        add_job(connection, scenario(name="dock"), digest=None, request_id="req_1", now=1.0)
        taken = claim_next(connection, "w", lease_s=10, now=2.0)
    assert taken is not None
    return taken


def test_a_published_model_is_read_with_its_figures_and_its_file(engine: Engine) -> None:
    job, hold = claimed(engine)
    with writing(engine) as connection:
        assert publish(connection, job, hold, ENDING, now=3.0)
    with reading(engine) as connection:
        ended = get_job(connection, job.id)
        model = get_model(connection, DEFAULT_TENANT, job.model_id)
        (file,) = list_artifacts(connection, job.model_id)
        assert get_artifact(connection, DEFAULT_TENANT, file.id) == file
        assert list_models(connection, DEFAULT_TENANT, limit=5) == [model]
        assert list_models(connection, DEFAULT_TENANT, before=job.model_id, limit=5) == []
    assert ended is not None
    assert model is not None
    assert (ended.state, ended.progress, ended.scenario_digest) == (State.SUCCEEDED, 1.0, "sha256:d")
    assert ended.result == model.result
    assert model.result["limits_met"] is True
    assert model.result["measured"]["samples"] == 64
    assert model.result["artifacts"] == [{"id": file.id, **file.artifact.model_dump()}]
    assert file.manifest == {"classes": ["bag", "coat"]}


def test_a_model_and_its_bundle_are_published_together_and_found_again_in_order(engine: Engine) -> None:
    job, hold = claimed(engine)
    ending = Ending(outcome_of(make_assembly(b"onnx", bundled=True)), "sha256:d", [])
    with writing(engine) as connection:
        assert publish(connection, job, hold, ending, now=3.0)
    with reading(engine) as connection:
        files = list_artifacts(connection, job.model_id)
        twin = find_twin(connection, DEFAULT_TENANT, "sha256:d")
        model = get_model(connection, DEFAULT_TENANT, job.model_id)
    assert model is not None
    assert twin is not None
    assert [file.artifact.kind for file in files] == ["model", "bundle"]
    assert [one["id"] for one in model.result["artifacts"]] == [file.id for file in files]
    assert twin[1] == ending.outcome


def test_a_worker_that_lost_its_job_publishes_nothing(engine: Engine) -> None:
    job, hold = claimed(engine)
    with writing(engine) as connection:
        assert not publish(connection, job, Hold(hold.job_id, hold.worker, 2), ENDING, now=3.0)
    with reading(engine) as connection:
        assert get_model(connection, DEFAULT_TENANT, job.model_id) is None
        assert list_artifacts(connection, job.model_id) == []


def test_the_end_of_the_job_and_its_model_are_written_together_or_not_at_all(engine: Engine) -> None:
    job, hold = claimed(engine)

    def publish_and_fail() -> None:
        with writing(engine) as connection:
            publish(connection, job, hold, ENDING, now=3.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        publish_and_fail()
    with reading(engine) as connection:
        found = get_job(connection, job.id)
        assert get_model(connection, DEFAULT_TENANT, job.model_id) is None
    assert found is not None
    assert found.state is State.RUNNING


def test_the_twin_of_a_scenario_is_the_job_that_built_it(engine: Engine) -> None:
    first, hold = claimed(engine)
    with writing(engine) as connection:
        publish(connection, first, hold, ENDING, now=3.0)
    second, hold = claimed(engine)
    with writing(engine) as connection:
        publish(connection, second, hold, Ending(ENDING.outcome, "sha256:d", [], first.id), now=4.0)
    with reading(engine) as connection:
        twin = find_twin(connection, DEFAULT_TENANT, "sha256:d")
        assert find_twin(connection, DEFAULT_TENANT, "sha256:other") is None
    assert twin is not None
    assert twin[0].id == first.id
    assert twin[1] == ENDING.outcome
