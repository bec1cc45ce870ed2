"""The events of a job, read as they come; a stream that breaks off is taken up where it was.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import codecs
import json
import math
import time
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from service.calls.answers import begin, id_of, request
from service.calls.errors import AnswerInvalid, ProblemError, TimedOut, Unreachable
from service.calls.patience import Backoff, may_pass
from service.calls.steps import Close, Flow, Item, Pause, Setup, Stream, read_some
from service.schemas import JobView
from service.state import State

# The service comments every 15 s where nothing happens.
SILENCE_S = 40.0
MAX_EVENT_CHARS = 1_000_000


class Event(BaseModel):
    """What happened to a job: ``kind`` is ``state``, ``phase``, ``progress``, or ``done``, which is the last one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    kind: str
    job_id: str
    at: str
    state: State | None = None
    phase: str | None = None
    progress: float | None = None


class EventReader:
    """Puts bytes of a stream together to events."""

    def __init__(self) -> None:
        self.retry_s: float | None = None
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text = ""
        self._fields: dict[str, list[str]] = {}
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete.

        Raises:
            AnswerInvalid: something is no event of a job, or has no end.
        """
        self._text += self._decode(chunk)
        # A carriage return at the end may be the first half of a line's end.
        held = "\r" if self._text.endswith("\r") else ""
        whole = self._text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = whole.split("\n")
        self._text = rest + held
        if len(self._text) > MAX_EVENT_CHARS or sum(map(len, self._fields.get("data", ()))) > MAX_EVENT_CHARS:
            raise AnswerInvalid("an event has no end")
        for line in lines:
            if line:
                self._take(line)
            elif (event := self._event()) is not None:
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000
        elif name in ("event", "data"):
            self._fields.setdefault(name, []).append(value)

    def _event(self) -> Event | None:
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        try:
            data: dict[str, Any] = json.loads("\n".join(fields["data"]))
            return Event.model_validate(
                {**data, "id": self._id, "kind": fields.get("event", ["message"])[-1]}
            )
        except (ValueError, TypeError, ValidationError) as error:
            raise AnswerInvalid("the stream holds something that is no event of a job") from error


def events(
    setup: Setup, job: JobView | str, *, after: str | None = None, timeout_s: float | None = None
) -> Stream[Event]:
    """Yield what happens to a job, from its begin until it has ended.

    Args:
        setup: of the client.
        job: to listen to.
        after: only events after the one of this id.
        timeout_s: listen no longer; None listens for as long as it takes.

    Raises:
        TimedOut: the job has not ended in time; it goes on.
        Unreachable: the stream broke off, and could not be taken up again.
    """
    job_id = id_of(job)
    backoff = Backoff(setup.patience)
    last = after
    ends = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        reader = EventReader()
        try:
            yield from _listen(setup, job_id, last, ends - time.monotonic())
            while (chunk := (yield from read_some(setup))) is not None:
                for event in reader.feed(chunk):
                    backoff.start()
                    last = event.id or last
                    yield Item(event)
                    if event.kind == "done":
                        yield Close()
                        return
                if time.monotonic() >= ends:
                    raise TimedOut(job_id, timeout_s or 0.0)
            failure: Unreachable | ProblemError = Unreachable(setup.url, "the events end before the job does")
        except (Unreachable, ProblemError) as error:
            if time.monotonic() >= ends:
                raise TimedOut(job_id, timeout_s or 0.0) from error
            if not may_pass(error, repeatable=True):
                raise
            failure = error
        backoff.base_s = reader.retry_s or backoff.base_s
        yield Pause(min(backoff.pause_s(failure), max(0.0, ends - time.monotonic())))


def _listen(setup: Setup, job_id: str, last: str | None, left_s: float) -> Flow[None]:
    headers = {"Accept": "text/event-stream"}
    if last is not None:
        headers["Last-Event-ID"] = last
    silence_s = max(0.05, min(max(SILENCE_S, setup.timeout_s), left_s))
    response = yield from begin(
        setup, request("GET", "jobs", job_id, "events", headers=headers, silence_s=silence_s)
    )
    if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
        raise AnswerInvalid("the answer is no stream of events")
