"""From a scenario to its file."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.client import AnswerInvalid, Client, JobFailed, ProblemError, TimedOut
from tests.service.both import Ask, asked_for, both
from tests.service.child import LARGE_BYTES
from tests.service.making import body, scenario
from tests.service.rude import answer, cut, made_job, problem, serving

JOB = answer(body=made_job())
# Scenarios that differ in their names alone share a build.
LARGE = body(name="large", limits={"latency_ms": 1.7})
CRASH = body(name="crash", limits={"latency_ms": 1.8})


@both
def test_a_submit_whose_answer_is_lost_is_sent_again_with_the_same_key(ask: Ask) -> None:
    busy = problem(409, "idempotency-in-progress", retryable=True)
    with serving(cut, busy, JOB) as rude:
        ask(rude.url, "submit", {"task": 1}, wait_s=2)
        ask(rude.url, "submit", {"task": 1}, idempotency_key="mine")
    first, second, third, other = rude.asked
    keys = {one.headers["idempotency-key"] for one in (first, second, third)}
    assert len(keys) == 1
    assert other.headers["idempotency-key"] == "mine" not in keys
    assert {one.headers.get("prefer") for one in (first, second, third)} == {"wait=2.000"}
    assert {one.body for one in rude.asked} == {b'{"task": 1}'}


@both
def test_a_job_without_a_model_is_an_error_for_who_wants_the_file(ask: Ask, tmp_path: Path) -> None:
    error = {"code": "scenario-infeasible", "detail": "none meets", "diagnosis": {"binding": ["latency_ms"]}}
    with serving(answer(201, made_job("failed", error=error))) as rude, pytest.raises(JobFailed) as failed:
        ask(rude.url, "generate", {}, tmp_path / "x")
    assert (failed.value.code, failed.value.diagnosis) == ("scenario-infeasible", {"binding": ["latency_ms"]})
    with serving(answer(201, made_job("expired"))) as rude, pytest.raises(JobFailed, match="job_1 expired"):
        ask(rude.url, "generate", {}, tmp_path / "x")


@both
def test_a_job_that_takes_too_long_is_cancelled_or_left(ask: Ask, tmp_path: Path) -> None:
    running = answer(202, made_job("running"))
    late = {"timeout_s": 0.1}
    with serving(running) as rude, pytest.raises(TimedOut) as stopped:
        ask(rude.url, "generate", {}, tmp_path / "x", **late)
    assert stopped.value.cancelled
    assert rude.paths[-1] == "POST /jobs/job_1/cancel"
    with serving(running) as rude, pytest.raises(TimedOut) as left:
        ask(rude.url, "generate", {}, tmp_path / "x", cancel_on_timeout=False, **late)
    assert not left.value.cancelled
    assert not any("cancel" in path for path in rude.paths)


@both
def test_a_front_comes_as_a_picture_too(ask: Ask) -> None:
    with serving(answer(body=b"<svg/>", Content_Type="image/svg+xml")) as rude:
        assert ask(rude.url, "pareto_svg", {}) == b"<svg/>"
    assert rude.asked[0].headers["accept"] == "image/svg+xml"
    with serving(answer(body=b"{}")) as rude, pytest.raises(AnswerInvalid):
        ask(rude.url, "pareto_svg", {})


@both
def test_from_a_scenario_to_its_file_in_one_call(ask: Ask, url: str, tmp_path: Path) -> None:
    made = ask(url, "generate", LARGE, tmp_path / "model.onnx", timeout_s=30)
    content = made.path.read_bytes()
    assert len(content) == LARGE_BYTES
    assert hashlib.sha256(content).hexdigest() == made.artifact.sha256
    assert made.job.state == "succeeded"
    assert ask(url, "get_model", made.job.model_id).artifacts == [made.artifact]
    assert ask(url, "get_job", made.job) == made.job
    assert ask(url, "manifest", made.artifact)["classes"] == ["bag", "coat"]
    assert made.job.model_id in [model.id for model in ask(url, "list_models", page_size=1)]
    ask(url, "download", made.artifact.id, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content


@both
def test_a_scenario_may_be_a_value_or_bytes(ask: Ask, url: str) -> None:
    wanted = scenario(name="twin")
    jobs = [ask(url, "submit", one, wait_s=20) for one in (wanted, wanted.model_dump_json().encode())]
    assert {job.state for job in jobs} == {"succeeded"}
    assert jobs[0].scenario == jobs[1].scenario == wanted.model_dump(mode="json")


@both
def test_a_key_makes_one_job(ask: Ask, url: str) -> None:
    key = f"one-{ask.__name__}"
    first, second = (ask(url, "submit", body(name="slow"), idempotency_key=key) for _ in range(2))
    assert first.id == second.id
    with pytest.raises(ProblemError, match="idempotency-key-reused"):
        ask(url, "submit", body(), idempotency_key=key)


@both
def test_a_job_that_takes_too_long_is_cancelled(ask: Ask, url: str, tmp_path: Path) -> None:
    slow = body(name="slow", limits={"latency_ms": 0.2 if ask.__name__ == "blocking" else 0.3})
    with pytest.raises(TimedOut) as late:
        ask(url, "generate", slow, tmp_path / "m", timeout_s=0.2)
    assert late.value.cancelled
    job = ask(url, "wait", late.value.job_id, timeout_s=15)
    assert job.state == "cancelled"
    assert list(tmp_path.iterdir()) == []
    assert ask(url, "cancel", job).state == "cancelled"
    key = f"late-{ask.__name__}"
    done = ask(url, "submit", slow, wait_s=20, idempotency_key=key)
    with pytest.raises(ProblemError, match="job-already-finished"):
        ask(url, "cancel", done)


def test_a_job_that_failed_says_why(url: str, tmp_path: Path) -> None:
    with Client(url) as client, pytest.raises(JobFailed) as failed:
        client.generate(CRASH, tmp_path / "m", timeout_s=30)
    assert failed.value.code == "poisoned"
    assert failed.value.job.state == "failed"


@both
def test_jobs_of_a_batch_are_found_again(ask: Ask, url: str) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    made = ask(url, "batch", [body(name=f"b{n}", labels={"n": str(n)}) for n in range(5)])
    assert made.unique_builds == 1
    for job in made.jobs:
        assert ask(url, "wait", job.id, timeout_s=20).state == "succeeded"
    found = ask(url, "list_jobs", batch=made.batch_id, created_after=before, page_size=2)
    assert {job.id for job in found} == {job.id for job in made.jobs}
    assert [job.id for job in ask(url, "list_jobs", batch=made.batch_id, labels=["n:3"])] == [made.jobs[3].id]
    raw = b'[{"task": 1}]'
    with pytest.raises(ProblemError, match="/0/"):
        ask(url, "batch", raw)


@both
def test_a_front_is_asked_for_as_the_contract_has_it(ask: Ask) -> None:
    assert asked_for(ask, "pareto", {"a": 1}) == ("POST /models/pareto", b'{"a": 1}', {"id": "it"})
