"""Steps: what an operation asks of whoever runs it.

An operation is a generator. It yields steps (open a request, read, pause), is sent what came of them, and returns its
result; a failure is raised where it waits. So it is written once, and runs in a client that blocks as well as in an
asynchronous one; only ``service/client.py`` knows which of the two it is.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import httpx

from service.calls.errors import AnswerInvalid, Unreachable
from service.calls.patience import Patience

T = TypeVar("T")
MAX_ANSWER_BYTES = 64_000_000
# A body may take so much longer than one silence may last.
BODY_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Setup:
    """What all operations of a client share; ``timeout_s`` is how long the service may be silent."""

    url: str
    patience: Patience
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Call:
    """A request. One that is ``repeatable`` may be sent again when nobody knows whether it arrived."""

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    silence_s: float | None = None
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request; the answer to this step is the head of the response."""

    call: Call


@dataclass(frozen=True, slots=True)
class Read:
    """Read on in the response that is open; the answer is some bytes, or None at the end."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the response that is open."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Run a function that reads or writes a disk; the answer is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Hand something out before the operation has ended."""

    value: T


Step: TypeAlias = Open | Read | Close | Pause | Work
Flow: TypeAlias = Generator[Step, Any, T]
Stream: TypeAlias = Generator[Step | Item[T], Any, None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: httpx.Headers
    content: bytes


def open_call(setup: Setup, call: Call) -> Flow[httpx.Response]:
    """Send a request and return the head of its response.

    Raises:
        Unreachable: there was none.
    """
    try:
        response: httpx.Response = yield Open(call)
    except httpx.RequestError as error:
        raise lost(setup, error) from error
    return response


def read_some(setup: Setup) -> Flow[bytes | None]:
    """Return the next bytes of the response that is open, None at its end.

    Raises:
        Unreachable: it broke off.
    """
    try:
        chunk: bytes | None = yield Read()
    except httpx.RequestError as error:
        raise lost(setup, error) from error
    return chunk


def read_whole(setup: Setup, limit_bytes: int = MAX_ANSWER_BYTES) -> Flow[bytes]:
    """Return the rest of the response that is open.

    Raises:
        Unreachable: it broke off, or trickles.
        AnswerInvalid: it is larger than ``limit_bytes``.
    """
    ends = time.monotonic() + BODY_FACTOR * setup.timeout_s
    chunks: list[bytes] = []
    size = 0
    while (chunk := (yield from read_some(setup))) is not None:
        chunks.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            raise AnswerInvalid(f"an answer of {setup.url} is larger than {limit_bytes} bytes")
        if time.monotonic() > ends:
            raise Unreachable(setup.url, "the answer does not end")
    return b"".join(chunks)


def lost(setup: Setup, error: httpx.RequestError) -> Unreachable:
    """Return what is raised where a connection was not made or broke."""
    reason = str(error) or type(error).__name__
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    # A certificate does not become better by asking again, nor does a request that cannot be written.
    wrong = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.DecodingError)
    return Unreachable(
        setup.url, reason, unsent=unsent, hopeless=wrong or "CERTIFICATE_VERIFY_FAILED" in reason
    )
