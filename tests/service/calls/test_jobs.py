"""Jobs: reading, listing, waiting, cancelling."""

import time

import pytest

from service.client import AnswerInvalid, Patience, ProblemError, TimedOut
from tests.service.both import Ask, both
from tests.service.making import body
from tests.service.rude import answer, cut, made_job, serving


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


@both
def test_waiting_does_not_hammer_a_service_that_does_not_wait(ask: Ask) -> None:
    with serving(answer(body=made_job("running"), Retry_After="0")) as rude:
        began = time.monotonic()
        with pytest.raises(TimedOut, match=r"job_1 did not end within 0\.6 s"):
            ask(rude.url, "wait", "job_1", timeout_s=0.6, patience=Patience(base_s=0.4, cap_s=0.4))
        assert 0.5 < time.monotonic() - began < 2
    assert len(rude.asked) < 20


@both
def test_a_job_is_cancelled_and_cannot_be_cancelled_once_it_has_ended(ask: Ask, url: str) -> None:
    limits = {"latency_ms": 0.61 if ask.__name__ == "blocking" else 0.62}
    job = ask(url, "submit", body(name="slow", limits=limits))
    assert ask(url, "cancel", job).state in ("cancelling", "cancelled")
    assert ask(url, "wait", job, timeout_s=15).state == "cancelled"
    assert ask(url, "cancel", job.id).state == "cancelled"
    done = ask(url, "submit", body(), wait_s=20)
    with pytest.raises(ProblemError, match="job-already-finished"):
        ask(url, "cancel", done)
