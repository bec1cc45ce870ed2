"""Deliveries: Redis tells the workers of all machines which jobs wait, by docket (Redis Streams, at least once).

The database is the record. A delivery only says that it is worth looking at a job: what is delivered twice is refused
by the claim, what is lost is found by those who look at the database from time to time.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta

from docket import Docket, Worker
from redis.exceptions import RedisError

NAME = "nnfactory"
# What a worker that is gone had taken is delivered again after so long.
REDELIVERY_S = 10.0
AGAIN_S = 1.0
# Redis counts as away when it does not take something within so long.
TIMEOUT_S = 3.0
# While it is away no more is remembered: the rest is found in the database.
REMEMBERED = 10_000
AWAY = (RedisError, OSError, TimeoutError)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job that may wait; ``done`` must be called when it was looked at."""

    job_id: str
    done: Callable[[], None]


Take = Callable[[str], Awaitable[None]]
_take: ContextVar[Take] = ContextVar("take")


async def work(job_id: str) -> None:
    """Have the worker of this process look at a job; return when it has done so."""
    await _take.get()(job_id)


class Announcer:
    """Tells the workers which jobs wait. Never waits itself and never fails: what is not told is found all the same."""

    def __init__(self, url: str | None) -> None:
        """Prepare.

        Args:
            url: of Redis; None where workers look at the database alone.
        """
        self._url = url
        self._waiting: asyncio.Queue[str] = asyncio.Queue(REMEMBERED)

    def announce(self, job_ids: Sequence[str]) -> None:
        """Tell of jobs soon."""
        if self._url is not None:
            with contextlib.suppress(asyncio.QueueFull):
                for job_id in job_ids:
                    self._waiting.put_nowait(job_id)

    @property
    def idle(self) -> bool:
        """Whether nothing remains to be told."""
        return self._waiting.empty()

    async def told(self) -> None:
        """Return when Redis has taken all that was announced, or was found to be away."""
        await self._waiting.join()

    async def run(self) -> None:
        """Tell until cancelled."""
        if self._url is None:
            return
        away = False
        while True:
            try:
                async with _docket(self._url) as docket:
                    while True:
                        job_id = await self._waiting.get()
                        try:
                            async with asyncio.timeout(TIMEOUT_S):
                                await docket.add(work, key=job_id)(job_id)
                        finally:
                            self._waiting.task_done()
                        away = False
            except AWAY as error:
                if not away:
                    log.warning("Redis cannot be reached (%s); workers find their jobs later", _name(error))
                away = True
                await asyncio.sleep(AGAIN_S)


class Deliveries(threading.Thread):
    """Takes the deliveries for one worker, one at a time; docket's heartbeat goes on beside the work."""

    def __init__(self, url: str, worker: str) -> None:
        super().__init__(name="deliveries", daemon=True)
        self._url = url
        self._worker = worker
        self._inbox: queue.Queue[Delivery] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()

    def next(self, timeout_s: float) -> Delivery | None:
        """Return the next delivery, or None when there is none within so many seconds."""
        try:
            return self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Take no more; what was taken and not done is delivered to others."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        self.join(timeout=5.0)

    def run(self) -> None:
        """Take deliveries until stopped."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        _take.set(self._hand_over)
        taking = asyncio.create_task(self._take_all())
        await self._stopping.wait()
        # One cancellation may end nothing but docket's read of the moment.
        while not taking.done():
            taking.cancel()
            await asyncio.wait([taking], timeout=0.1)

    async def _take_all(self) -> None:
        away = False
        while True:
            try:
                async with (
                    _docket(self._url) as docket,
                    Worker(
                        docket,
                        name=self._worker,
                        concurrency=1,
                        redelivery_timeout=timedelta(seconds=REDELIVERY_S),
                        minimum_check_interval=timedelta(milliseconds=50),
                        schedule_automatic_tasks=False,
                    ) as worker,
                ):
                    away = False
                    await worker.run_forever()
            except AWAY as error:
                if not away:
                    log.warning("Redis cannot be reached (%s); it is tried again", _name(error))
                away = True
            await asyncio.sleep(AGAIN_S)

    async def _hand_over(self, job_id: str) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        self._inbox.put(Delivery(job_id, lambda: _call(loop, done.set)))
        await done.wait()


def _name(error: BaseException) -> str:
    return type(error).__name__


def _call(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    # The loop is closed when the worker was stopped meanwhile.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(act)


def _docket(url: str) -> Docket:
    docket = Docket(name=NAME, url=url, execution_ttl=timedelta(seconds=60))
    docket.register(work)
    return docket
