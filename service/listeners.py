"""Listening to what happens to jobs: any number of clients, one look at the database every few milliseconds."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service.db import Watch, reading
from service.jobs import JobEvent, events_after, last_event_id, list_events

LOOK_S = 0.01
AGAIN_S = 1.0
AT_ONCE = 1000

# An event, or None for: the service ends.
Inbox = asyncio.Queue[JobEvent | None]

log = logging.getLogger(__name__)


class Listeners:
    """Those who listen to jobs; while there are none, nothing is looked at."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._inboxes: dict[str, set[Inbox]] = {}
        self._task: asyncio.Task[None] | None = None
        self._seen = 0
        self._starting = asyncio.Lock()
        self._closed = False

    async def until_done(self, job_id: str, timeout_s: float) -> None:
        """Return when the job has ended, the time is over, or the service ends."""
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in self.follow(job_id):
                    pass
        except TimeoutError:
            pass

    async def follow(self, job_id: str, after: int = 0) -> AsyncIterator[JobEvent]:
        """Yield the events of a job, old and new, until it has ended or the service ends.

        Args:
            job_id: of a job that is there.
            after: only events later than the one of this id.
        """
        async with self._listening(job_id) as inbox:
            for event in await run_in_threadpool(self._of_job, job_id):
                if event.id > after:
                    yield event
                    after = event.id
                if event.ends:
                    return
            while (news := await inbox.get()) is not None:
                if news.id > after:
                    yield news
                if news.ends:
                    return

    def close(self) -> None:
        """Let everyone go, now and from now on."""
        self._closed = True
        for inboxes in self._inboxes.values():
            for inbox in inboxes:
                inbox.put_nowait(None)

    @asynccontextmanager
    async def _listening(self, job_id: str) -> AsyncIterator[Inbox]:
        """Yield where all events of a job arrive that are written from now on."""
        inbox: Inbox = asyncio.Queue()
        if self._closed:
            inbox.put_nowait(None)
        self._inboxes.setdefault(job_id, set()).add(inbox)
        try:
            await self._start()
            yield inbox
        finally:
            others = self._inboxes[job_id]
            others.discard(inbox)
            if not others:
                del self._inboxes[job_id]

    async def _start(self) -> None:
        """Have the database looked at, from where it is now."""
        async with self._starting:
            if self._task is None or self._task.done():
                self._seen = await run_in_threadpool(self._last)
                self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        watch = Watch(self._path)
        behind = True
        try:
            while self._inboxes and not self._closed:
                if watch.changed() or behind:
                    behind = await self._tell_news()
                if not behind:
                    await asyncio.sleep(LOOK_S)
        finally:
            watch.close()

    async def _tell_news(self) -> bool:
        """Hand out what was not seen yet; say whether there is more."""
        try:
            news = await run_in_threadpool(self._news)
        except SQLAlchemyError:
            log.exception("events could not be read; it is tried again")
            await asyncio.sleep(AGAIN_S)
            return True
        for event in news:
            self._seen = event.id
            for inbox in self._inboxes.get(event.job_id, ()):
                inbox.put_nowait(event)
        return len(news) == AT_ONCE

    def _last(self) -> int:
        with reading(self._engine) as connection:
            return last_event_id(connection)

    def _news(self) -> list[JobEvent]:
        with reading(self._engine) as connection:
            return events_after(connection, self._seen, limit=AT_ONCE)

    def _of_job(self, job_id: str) -> list[JobEvent]:
        with reading(self._engine) as connection:
            return list_events(connection, job_id)
