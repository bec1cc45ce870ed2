"""Events from servers that break off, and from bytes that come as they like."""

import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calls.events import Event, EventReader
from service.client import AnswerInvalid, Patience, ProblemError, TimedOut, Unreachable
from tests.service.both import Ask, both
from tests.service.calls.streams import DONE, ONE, TWO, event, stream
from tests.service.making import body
from tests.service.rude import Request, answer, cut, problem, serving


@both
def test_a_stream_that_breaks_off_is_taken_up_where_it_was(ask: Ask) -> None:
    torn = TWO[:-20]
    with serving(stream(ONE, torn), cut, stream(": nothing yet\n\n"), stream(TWO), stream(DONE, TWO)) as rude:
        found = ask(rude.url, "events", "job_1")
    assert [(one.id, one.kind) for one in found] == [("1", "state"), ("2", "phase"), ("3", "done")]
    assert (found[0].state, found[1].phase, found[1].progress) == ("queued", "assembling", 0.5)
    assert [one.headers.get("last-event-id") for one in rude.asked] == [None, "1", "1", "1", "2"]
    assert rude.paths[0] == "GET /jobs/job_1/events"


@both
def test_a_stream_that_never_goes_on_is_given_up(ask: Ask) -> None:
    patience = Patience(total_s=0.2, base_s=0.01, cap_s=0.02)
    with serving(stream(ONE), cut) as rude, pytest.raises(Unreachable):
        ask(rude.url, "events", "job_1", patience=patience)
    with serving(stream("")) as rude, pytest.raises(Unreachable, match="before the job does"):
        ask(rude.url, "events", "job_1", patience=patience)
    with serving(problem(404, "not-found")) as rude, pytest.raises(ProblemError):
        ask(rude.url, "events", "job_1")
    assert len(rude.asked) == 1


@both
def test_listening_may_have_an_end(ask: Ask) -> None:
    def be_silent(connection: socket.socket, request: Request) -> None:
        connection.sendall(stream(ONE))
        connection.recv(1)

    def chatter(connection: socket.socket, request: Request) -> None:
        connection.sendall(stream(ONE))
        while True:
            connection.sendall(b": still here\n\n")
            time.sleep(0.02)

    for rudely in (be_silent, chatter, cut):
        began = time.monotonic()
        with serving(rudely) as rude, pytest.raises(TimedOut):
            ask(rude.url, "events", "job_1", timeout_s=0.3)
        assert time.monotonic() - began < 2


@both
@pytest.mark.parametrize("body", [b"<html>", b"{}"])
def test_what_is_no_stream_is_no_answer(ask: Ask, body: bytes) -> None:
    with serving(answer(body=body)) as rude, pytest.raises(AnswerInvalid, match="no stream"):
        ask(rude.url, "events", "job_1")


@both
def test_an_event_without_an_end_is_given_up(ask: Ask) -> None:
    def endless(connection: socket.socket, request: Request) -> None:
        connection.sendall(stream("data: "))
        while True:
            connection.sendall(b"x" * 100_000)

    with serving(endless) as rude, pytest.raises(AnswerInvalid, match="no end"):
        ask(rude.url, "events", "job_1")


@given(st.data(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_it_does_not_matter_how_the_bytes_come(data: st.DataObject, end: str) -> None:
    text = (
        "\ufeff: a comment\n\nretry: 250\n" + ONE + event(2, phase="über", new=[1]) + "event: ping\n\n" + DONE
    )
    raw = text.replace("\n", end).encode()
    places = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    reader = EventReader()
    found: list[Event] = []
    for start, stop in zip([0, *places], [*places, len(raw)], strict=True):
        found += reader.feed(raw[start:stop])
    # A carriage return that stands last may be followed by the rest of a line's end.
    found += reader.feed(b":\n")
    assert [(one.id, one.kind) for one in found] == [("1", "state"), ("2", "phase"), ("3", "done")]
    assert found[1].phase == "über"
    assert reader.retry_s == 0.25


@pytest.mark.parametrize("data", ["nothing", "[]", "{}", '{"job_id": 1}'])
def test_what_is_no_event_of_a_job_is_told(data: str) -> None:
    with pytest.raises(AnswerInvalid, match="no event"):
        list(EventReader().feed(f"data: {data}\n\n".encode()))


@both
def test_what_happens_is_told_until_the_end(ask: Ask, url: str) -> None:
    job = ask(url, "submit", body(name="slow", limits={"latency_ms": time.time() % 1 + 1}))
    told = ask(url, "events", job)
    assert [event.phase or event.state for event in told][-2:] == ["storing", "succeeded"]
    assert [event.id for event in ask(url, "events", job, after=told[-2].id)] == [told[-1].id]
