"""How long clients try again."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.calls.patience import Backoff, retry_after_s
from service.client import Patience, ProblemError
from tests.service.both import Ask, both
from tests.service.rude import answer, made_job, problem, serving

JOB = answer(body=made_job())
BUSY = problem(503, "queue-full", retryable=True)


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


@given(st.integers(0, 60), st.floats(0.01, 5), st.floats(0.01, 30))
def test_no_pause_is_longer_than_the_cap(tries: int, base_s: float, cap_s: float) -> None:
    backoff = Backoff(Patience(total_s=1e9, base_s=base_s, cap_s=cap_s))
    for number in range(tries):
        assert 0 <= backoff.pause_s() <= min(cap_s, base_s * 2**number)


@given(st.text())
@example("Thu, 01 Jan 2026 00:00:00 -99999999999999999999")
@example("0\x1f")
def test_whatever_stands_in_retry_after_it_is_no_error(text: str) -> None:
    found = retry_after_s(text)
    assert found is None or found >= 0


def test_retry_after_may_be_a_time() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    later = retry_after_s("Fri, 21 Oct 2095 07:28:00 GMT")
    assert later is not None
    assert later > 1e9
