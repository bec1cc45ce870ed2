"""What clients make of answers, of servers that misbehave, and of arguments that cannot be sent."""

import inspect
import itertools
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calls.patience import Backoff, retry_after_s
from service.client import (
    AnswerInvalid,
    ArgumentInvalid,
    AsyncClient,
    Client,
    JobFailed,
    Patience,
    ProblemError,
    TimedOut,
    Unreachable,
    artifact_of,
    exact,
)
from tests.service.both import Ask, both
from tests.service.rude import Request, answer, cut, made_job, problem, serving

JOB = answer(body=made_job())
BUSY = problem(503, "queue-full", retryable=True)


def test_both_clients_can_do_the_same_and_take_the_same_arguments() -> None:
    def offered(kind: type) -> dict[str, str]:
        methods = {
            name: one for name, one in vars(kind).items() if inspect.isfunction(one) and name[0] != "_"
        }
        return {name: str(inspect.signature(one)) for name, one in methods.items()}

    assert offered(Client) == offered(AsyncClient)
    assert len(offered(Client)) > 25
    assert "setup" not in str(offered(Client))
    assert all(
        one.__doc__ and "setup:" not in one.__doc__
        for one in vars(Client).values()
        if inspect.isfunction(one)
    )


def test_a_client_needs_nothing_of_the_service_itself() -> None:
    heavy = {"torch", "fastapi", "starlette", "sqlalchemy", "onnxruntime", "numpy", "typer"}
    probe = f"import sys, service.client\nsys.exit(str({heavy} & set(sys.modules) or '') or 0)"
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@both
def test_what_the_service_cannot_do_now_is_asked_again(ask: Ask) -> None:
    with serving(BUSY, problem(429, "rate-limited", True), cut, answer(502, b"<html>"), JOB) as rude:
        assert ask(rude.url, "get_job", "job_1").id == "job_1"
    assert rude.paths == ["GET /jobs/job_1"] * 5


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
def test_what_must_not_be_done_twice_is_sent_once(ask: Ask) -> None:
    with serving(cut) as rude, pytest.raises(Unreachable):
        ask(rude.url, "create_key", {"tenant": "t"})
    assert rude.paths == ["POST /keys"]
    with serving(BUSY, answer(201, {"id": "key_1"})) as rude:
        assert ask(rude.url, "create_key", {"tenant": "t"}) == {"id": "key_1"}


@both
def test_the_service_says_when_to_ask_again(ask: Ask) -> None:
    with serving(problem(503, "queue-full", True, Retry_After="1"), JOB) as rude:
        began = time.monotonic()
        ask(rude.url, "get_job", "job_1")
        assert 1 <= time.monotonic() - began < 3
    with serving(problem(429, "quota-exceeded", True, Retry_After="3600"), JOB) as rude:
        began = time.monotonic()
        with pytest.raises(ProblemError, match="quota-exceeded") as refused:
            ask(rude.url, "get_job", "job_1")
        assert time.monotonic() - began < 1
        assert refused.value.retry_after_s == 3600


@both
def test_patience_ends(ask: Ask) -> None:
    patience = Patience(total_s=0.3, base_s=0.01, cap_s=0.05)
    began = time.monotonic()
    with serving(BUSY) as rude, pytest.raises(ProblemError):
        ask(rude.url, "get_job", "job_1", patience=patience)
    assert time.monotonic() - began < 1
    assert len(rude.asked) > 4
    with serving(BUSY) as rude, pytest.raises(ProblemError):
        ask(rude.url, "get_job", "job_1", patience=Patience(total_s=0))
    assert len(rude.asked) == 1


@both
def test_a_place_where_nobody_listens_is_unreachable(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match=f":{port} cannot be reached") as lost:
        ask(f"http://127.0.0.1:{port}", "tasks", patience=Patience(total_s=0.1))
    assert lost.value.unsent


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


def _endlessly(connection: socket.socket, request: Request) -> None:
    connection.sendall(answer(length=-1))
    while True:
        connection.sendall(b" " * 1_000_000)


def _drop_by_drop(connection: socket.socket, request: Request) -> None:
    connection.sendall(answer(length=10_000))
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


@both
def test_an_answer_without_an_end_is_given_up(ask: Ask) -> None:
    with serving(_endlessly) as rude, pytest.raises(AnswerInvalid, match="larger than"):
        ask(rude.url, "tasks")
    with serving(_drop_by_drop) as rude, pytest.raises(Unreachable, match="does not end"):
        ask(rude.url, "tasks", patience=Patience(total_s=0), silence_s=0.1)


@both
def test_silence_is_given_up(ask: Ask) -> None:
    def be_silent(connection: socket.socket, request: Request) -> None:
        connection.recv(1)

    with serving(be_silent) as rude, pytest.raises(Unreachable):
        ask(rude.url, "tasks", patience=Patience(total_s=0), silence_s=0.1)


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


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://a b", "http://x?y", "http://u:pass@x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ArgumentInvalid, match="address") as refused:
        Client(url)
    assert "pass@" not in str(refused.value)


def test_a_key_that_is_none_is_refused_and_not_repeated() -> None:
    for key in ("", "sec ret", "secrät", "secret\r\nX: y"):
        with pytest.raises(ArgumentInvalid) as refused:
            Client("http://localhost", key)
        assert "sec" not in str(refused.value)


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
def test_all_pages_are_read_and_a_ring_of_pages_is_left(ask: Ask) -> None:
    def page(number: str, following: str | None) -> bytes:
        return answer(body={"jobs": [made_job(id=number)], "counts": {}, "next_page_token": following})

    with serving(page("1", "a"), cut, page("2", "b"), page("3", None)) as rude:
        found = ask(rude.url, "list_jobs", state="running", labels=["a:b", "c"], page_size=1)
    assert [job.id for job in found] == ["1", "2", "3"]
    assert rude.paths[0] == "GET /jobs?state=running&label=a%3Ab&label=c&page_size=1"
    assert rude.paths[-1].endswith("page_token=b")
    with serving(page("1", "a")) as rude, pytest.raises(AnswerInvalid, match="names itself"):
        ask(rude.url, "list_jobs")


def test_pages_are_read_when_they_are_needed() -> None:
    page = answer(body={"jobs": [made_job()], "counts": {}, "next_page_token": "a"})
    with serving(page) as rude, Client(rude.url) as client:
        assert len(list(itertools.islice(client.list_jobs(), 1))) == 1
    assert len(rude.asked) == 1


@both
def test_waiting_does_not_hammer_a_service_that_does_not_wait(ask: Ask) -> None:
    with serving(answer(body=made_job("running"), Retry_After="0")) as rude:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"job_1 did not end within 0\.6 s"):
            ask(rude.url, "wait", "job_1", timeout_s=0.6, patience=Patience(base_s=0.4, cap_s=0.4))
        assert 0.5 < time.monotonic() - began < 2
    assert len(rude.asked) < 20


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


CALLS: list[tuple[str, tuple[Any, ...], str]] = [
    ("pareto", ({},), "POST /models/pareto"),
    ("manifest", ("art_1",), "GET /artifacts/art_1/manifest"),
    ("report", ("art_1", {}), "POST /artifacts/art_1/reports"),
    ("create_device", ({},), "POST /devices"),
    ("add_profile", ("pi", {}), "POST /devices/pi/profiles"),
    ("create_key", ({},), "POST /keys"),
    ("list_keys", (), "GET /keys"),
    ("delete_key", ("key_1",), "DELETE /keys/key_1"),
    ("create_webhook", ({},), "POST /webhooks"),
    ("list_webhooks", (), "GET /webhooks"),
    ("delete_webhook", ("whk_1",), "DELETE /webhooks/whk_1"),
    ("list_deliveries", ("whk_1",), "GET /webhooks/whk_1/deliveries"),
    ("replay_delivery", ("whk_1", "d"), "POST /webhooks/whk_1/deliveries/d/replay"),
]


@both
@pytest.mark.parametrize(("operation", "values", "asked"), CALLS)
def test_operations_are_sent_as_the_contract_has_them(
    ask: Ask, operation: str, values: tuple[Any, ...], asked: str
) -> None:
    with serving(answer(body={"id": "it"})) as rude:
        assert ask(rude.url, operation, *values) == (None if asked.startswith("DELETE") else {"id": "it"})
    assert rude.paths == [asked]
    if {} in values:
        assert (rude.asked[0].body, rude.asked[0].headers["content-type"]) == (b"{}", "application/json")


@both
def test_a_front_comes_as_a_picture_too(ask: Ask) -> None:
    with serving(answer(body=b"<svg/>", Content_Type="image/svg+xml")) as rude:
        assert ask(rude.url, "pareto_svg", {}) == b"<svg/>"
    assert rude.asked[0].headers["accept"] == "image/svg+xml"
    with serving(answer(body=b"{}")) as rude, pytest.raises(AnswerInvalid):
        ask(rude.url, "pareto_svg", {})


@given(st.integers(0, 60), st.floats(0.01, 5), st.floats(0.01, 30))
def test_no_pause_is_longer_than_the_cap(tries: int, base_s: float, cap_s: float) -> None:
    backoff = Backoff(Patience(total_s=1e9, base_s=base_s, cap_s=cap_s))
    for number in range(tries):
        assert 0 <= backoff.pause_s() <= min(cap_s, base_s * 2**number)


@given(st.text())
def test_whatever_stands_in_retry_after_it_is_no_error(text: str) -> None:
    found = retry_after_s(text)
    assert found is None or found >= 0


def test_retry_after_may_be_a_time() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = retry_after_s("Fri, 21 Oct 2095 07:28:00 GMT")
    assert later is not None
    assert later > 1e9
