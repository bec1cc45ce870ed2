"""Listening to what happens to jobs: any number of clients, one look at the database every few milliseconds."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from service.db import Database
from service.jobs import JobEvent, list_events
from service.watch import AGAIN_S, READING_FAILED, News, open_news

# An event, or None for: the service ends.
Inbox = asyncio.Queue[JobEvent | None]

log = logging.getLogger(__name__)


class Listeners:
    """Those who listen to jobs; while there are none, nothing is looked at."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inboxes: dict[str, set[Inbox]] = {}
        self._task: asyncio.Task[None] | None = None
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

    async def follow(self, job_id: str, after: int = 0) -> AsyncGenerator[JobEvent, None]:
        """Yield the events of a job, old and new, until it has ended or the service ends.

        Args:
            job_id: of a job that is there.
            after: only events later than the one of this id.
        """
        async with self._listening(job_id) as inbox:
            for event in await self._database.read(list_events, job_id):
                if event.id > after:
                    yield event
                    after = event.id
                if event.ends:
                    return
            while (news := await inbox.get()) is not None:
                if news.id > after:
                    yield news
                    after = news.id
                if news.ends:
                    return

    @property
    def closed(self) -> bool:
        """Whether the service ends."""
        return self._closed

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
                news = open_news(self._database)
                await news.start()
                self._task = asyncio.create_task(self._look(news))

    async def _look(self, news: News) -> None:
        try:
            while self._inboxes and not self._closed:
                try:
                    found = await news.next(self._inboxes.keys)
                except READING_FAILED:
                    log.exception("events could not be read; it is tried again")
                    await asyncio.sleep(AGAIN_S)
                    continue
                for event in found:
                    for inbox in self._inboxes.get(event.job_id, ()):
                        inbox.put_nowait(event)
        finally:
            await news.close()
