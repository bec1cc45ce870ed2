"""What clients send again, and what they make of answers."""

import json

import pytest

from service.client import AnswerInvalid, ArgumentInvalid, ProblemError, Unreachable, artifact_of, exact
from tests.service.both import Ask, both
from tests.service.making import body
from tests.service.rude import answer, cut, made_job, problem, serving

JOB = answer(body=made_job())
BUSY = problem(503, "queue-full", retryable=True)


@both
def test_what_the_service_cannot_do_now_is_asked_again(ask: Ask) -> None:
    with serving(BUSY, problem(429, "rate-limited", True), cut, answer(502, b"<html>"), JOB) as rude:
        assert ask(rude.url, "get_job", "job_1").id == "job_1"
    assert rude.paths == ["GET /jobs/job_1"] * 5


@both
def test_what_must_not_be_done_twice_is_sent_once(ask: Ask) -> None:
    with serving(cut) as rude, pytest.raises(Unreachable):
        ask(rude.url, "create_key", {"tenant": "t"})
    assert rude.paths == ["POST /keys"]
    key = dict.fromkeys(("label", "expires_at", "revoked_at", "last_used_at"))
    key |= {"id": "key_1", "tenant": "t", "scopes": ["read"], "created_at": "now", "secret": "nnf_x"}
    with serving(BUSY, answer(201, key)) as rude:
        assert ask(rude.url, "create_key", {"tenant": "t"}).model_dump() == key


@both
def test_a_problem_tells_all_that_was_answered(ask: Ask) -> None:
    with serving(problem(422, "no-limits")) as rude, pytest.raises(ProblemError) as refused:
        ask(rude.url, "submit", {})
    error = refused.value
    assert (error.code, error.status, error.detail) == ("no-limits", 422, "it is no-limits")
    assert (error.request_id, error.retryable, error.retry_after_s) == ("req_1", False, None)
    assert [(one.pointer, one.detail) for one in error.problems] == [("/limits", "is missing")]
    assert str(error) == "no-limits: it is no-limits; /limits: is missing"
    assert len(rude.asked) == 1


@both
@pytest.mark.parametrize(
    "body",
    [b"<html>busy</html>", b"{}", b"[1]", b'{"code": 1}', b"\xff", b'{"code":1,"detail":2,"errors":3}'],
)
def test_an_error_that_is_no_problem_is_told_by_its_status(ask: Ask, body: bytes) -> None:
    with serving(answer(500, body)) as rude, pytest.raises(ProblemError) as refused:
        ask(rude.url, "tasks")
    assert (refused.value.code, refused.value.status) == ("http-500", 500)


@both
def test_a_redirect_is_not_followed_with_the_key(ask: Ask) -> None:
    with (
        serving(answer(302, Location="http://127.0.0.1:9/")) as rude,
        pytest.raises(ProblemError, match="http-302"),
    ):
        ask(rude.url, "tasks", key="secret")
    assert rude.asked[0].headers["authorization"] == "Bearer secret"


@both
@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": "job_1"}', b""])
def test_an_answer_that_is_another_one_is_no_result(ask: Ask, body: bytes) -> None:
    with (
        serving(answer(body=body)) as rude,
        pytest.raises(AnswerInvalid, match="not what NN-Factory answers"),
    ):
        ask(rude.url, "get_job", "job_1")


@both
def test_fields_that_a_newer_service_adds_are_kept(ask: Ask) -> None:
    made = {
        "id": "a",
        "kind": "model",
        "format": "onnx",
        "precision": "fp32",
        "bytes": 1,
        "sha256": "00",
        "new": 3,
    }
    figures = {"latency_ms": 1, "memory_mb": 1, "size_mb": 1, "accuracy": 1, "energy_mj": 5}
    result = {
        "limits_met": True,
        "artifacts": [made],
        "predicted": figures,
        "measured": None,
        "limits_check": [],
    }
    body = made_job(result=result, colour="blue")
    with serving(answer(body=body)) as rude:
        job = ask(rude.url, "get_job", "job_1")
    assert artifact_of(job).bytes == 1
    assert json.loads(json.dumps(exact(job))) == body


@both
@pytest.mark.parametrize("piece", ["", ".", ".."])
def test_an_id_that_would_be_another_address_is_not_sent(ask: Ask, piece: str) -> None:
    with serving(JOB) as rude, pytest.raises(ArgumentInvalid):
        ask(rude.url, "get_job", piece)
    assert rude.asked == []


@both
def test_an_id_stays_one_piece_of_the_address(ask: Ask) -> None:
    with serving(JOB) as rude:
        ask(rude.url, "get_job", "../x?y#z ä")
    assert rude.paths == ["GET /jobs/..%2Fx%3Fy%23z%20%C3%A4"]


@both
def test_what_is_no_json_is_not_sent(ask: Ask) -> None:
    with serving(JOB) as rude:
        for scenario in ({"a": float("nan")}, {"a": object()}):
            with pytest.raises(ArgumentInvalid):
                ask(rude.url, "submit", scenario)
        with pytest.raises(ArgumentInvalid):
            ask(rude.url, "submit", {}, idempotency_key="a b")
    assert rude.asked == []


@both
def test_what_was_removed_though_nobody_said_so_is_removed(ask: Ask) -> None:
    with serving(cut, problem(404, "not-found")) as rude:
        assert ask(rude.url, "delete_model", "mdl_1") is None
    with serving(problem(404, "not-found")) as rude, pytest.raises(ProblemError):
        ask(rude.url, "delete_model", "mdl_1")


@both
def test_a_problem_names_the_field(ask: Ask, url: str) -> None:
    with pytest.raises(ProblemError) as refused:
        ask(url, "submit", body(limits={"latency_ms": -1}))
    assert [one.pointer for one in refused.value.problems] == ["/limits/latency_ms"]
    assert refused.value.request_id.startswith("req_")
