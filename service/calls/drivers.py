"""Drivers: they take the steps of operations, one by blocking, the other by awaiting."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import httpx

from service.calls.steps import Call, Close, Flow, Item, Open, Pause, Read, Setup, Step, Stream, Work

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """An operation has ended with this result."""

    value: T


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a step: a value, or an error."""

    value: Any = None
    error: Exception | None = None


def advance(flow: Generator[Any, Any, Any], came: Came) -> Step | Item[Any] | Ended[Any]:
    """Tell an operation what came of its last step; return its next one."""
    try:
        step: Step | Item[Any] = flow.send(came.value) if came.error is None else flow.throw(came.error)
    except StopIteration as ended:
        return Ended(ended.value)
    return step


def to_httpx(http: httpx.Client | httpx.AsyncClient, setup: Setup, call: Call) -> httpx.Request:
    """Return a request as httpx wants it."""
    silence_s = setup.timeout_s if call.silence_s is None else call.silence_s
    return http.build_request(
        call.method,
        call.path,
        params=list(call.params),
        headers=dict(call.headers),
        content=call.content,
        timeout=httpx.Timeout(setup.timeout_s, read=silence_s),
    )


class BlockingDriver:
    """Takes the steps of operations one after the other."""

    def __init__(self, http: httpx.Client, setup: Setup) -> None:
        self.setup = setup
        self._http = http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """Return the result of an operation."""
        with closing(self._drive(flow)) as steps:
            for step in steps:
                if isinstance(step, Ended):
                    value: T = step.value
                    return value
        raise AssertionError("an operation always ends")

    def iterate(self, flow: Stream[T]) -> Iterator[T]:
        """Yield what an operation hands out."""
        with closing(self._drive(flow)) as steps:
            for step in steps:
                if isinstance(step, Item):
                    yield step.value

    def _drive(self, flow: Generator[Any, Any, Any]) -> Generator[Item[Any] | Ended[Any], None, None]:
        line = _Line(self._http, self.setup)
        came = Came()
        try:
            while True:
                step = advance(flow, came)
                if isinstance(step, Item | Ended):
                    yield step
                    came = Came()
                    if isinstance(step, Ended):
                        return
                else:
                    came = line.take(step)
        finally:
            flow.close()
            line.close()


class _Line:
    """The response that an operation has open."""

    def __init__(self, http: httpx.Client, setup: Setup) -> None:
        self._http = http
        self._setup = setup
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def take(self, step: Step) -> Came:
        try:
            return Came(self._take(step))
        except Exception as error:
            return Came(error=error)

    def _take(self, step: Step) -> Any:
        match step:
            case Open(call):
                self.close()
                self._response = self._http.send(to_httpx(self._http, self._setup, call), stream=True)
                self._chunks = self._response.iter_bytes()
                return self._response
            case Read():
                return next(self._chunks, None)
            case Close():
                self.close()
            case Pause(seconds):
                time.sleep(seconds)
            case Work(function):
                return function()
        return None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._chunks = None, iter(())


class AwaitedDriver:
    """Takes the steps of operations while others may run."""

    def __init__(self, http: httpx.AsyncClient, setup: Setup) -> None:
        self.setup = setup
        self._http = http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Return the result of an operation."""
        async with aclosing(self._drive(flow)) as steps:
            async for step in steps:
                if isinstance(step, Ended):
                    value: T = step.value
                    return value
        raise AssertionError("an operation always ends")

    async def iterate(self, flow: Stream[T]) -> AsyncIterator[T]:
        """Yield what an operation hands out."""
        async with aclosing(self._drive(flow)) as steps:
            async for step in steps:
                if isinstance(step, Item):
                    yield step.value

    async def _drive(self, flow: Generator[Any, Any, Any]) -> AsyncGenerator[Item[Any] | Ended[Any], None]:
        line = _AwaitedLine(self._http, self.setup)
        came = Came()
        try:
            while True:
                step = advance(flow, came)
                if isinstance(step, Item | Ended):
                    yield step
                    came = Came()
                    if isinstance(step, Ended):
                        return
                else:
                    came = await line.take(step)
        finally:
            flow.close()
            await line.close()


class _AwaitedLine:
    """The response that an operation has open."""

    def __init__(self, http: httpx.AsyncClient, setup: Setup) -> None:
        self._http = http
        self._setup = setup
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def take(self, step: Step) -> Came:
        try:
            return Came(await self._take(step))
        except Exception as error:
            return Came(error=error)

    async def _take(self, step: Step) -> Any:
        match step:
            case Open(call):
                await self.close()
                self._response = await self._http.send(to_httpx(self._http, self._setup, call), stream=True)
                self._chunks = self._response.aiter_bytes()
                return self._response
            case Read():
                return None if self._chunks is None else await anext(self._chunks, None)
            case Close():
                await self.close()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Work(function):
                return await asyncio.to_thread(function)
        return None

    async def close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
        self._response, self._chunks = None, None
