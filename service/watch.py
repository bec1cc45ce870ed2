"""Noticing what others write to the database, without asking it all the time."""

import asyncio
import contextlib
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Collection
from typing import Protocol

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.db import CONNECT_TIMEOUT_S, Database, is_embedded
from service.jobs import CHANNEL, JobEvent, events_after, events_of, last_event_id

LOOK_S = 0.01
AGAIN_S = 1.0
AT_ONCE = 1000
# A server is asked at least so often: a pooler between may swallow what it tells.
ASK_S = 5.0
IDLE_POLL_S = 0.05

log = logging.getLogger(__name__)

# The ids of the jobs that somebody listens to now.
Wanted = Callable[[], Collection[str]]


class Watch(Protocol):
    """Says whether it is worth looking at the database again."""

    def changed(self) -> bool:
        """Return whether anything may have been written since the last call."""

    def close(self) -> None:
        """Let go of what it holds."""


class FileWatch:
    """Watches a SQLite file, for the price of a few microseconds a look."""

    def __init__(self, engine: Engine) -> None:
        self._connection = sqlite3.connect(
            engine.url.database or "", isolation_level=None, check_same_thread=False
        )
        self._seen = self._version()

    def changed(self) -> bool:
        """Return whether anything was written since the last call."""
        seen, self._seen = self._seen, self._version()
        return seen != self._seen

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


class Ticks:
    """Says from time to time that a look is due: a server tells those who look for work nothing."""

    def __init__(self) -> None:
        self._looked_at = time.monotonic()

    def changed(self) -> bool:
        """Return whether the last look is some while ago."""
        if time.monotonic() - self._looked_at < IDLE_POLL_S:
            return False
        self._looked_at = time.monotonic()
        return True

    def close(self) -> None:
        """Do nothing: nothing is held."""


def open_watch(engine: Engine) -> Watch:
    """Return what watches a database."""
    return FileWatch(engine) if is_embedded(engine) else Ticks()


class News(Protocol):
    """The events of all jobs, as they are written."""

    async def start(self) -> None:
        """Begin: what is written from now on is news. Raises SQLAlchemyError."""

    async def next(self, wanted: Wanted) -> list[JobEvent]:
        """Return what is new, soon, perhaps nothing; events of one job come in their order, some perhaps twice."""

    async def close(self) -> None:
        """Let go of what it holds."""


class FileNews:
    """Events of a SQLite file: there is one writer at a time, so that ids come in order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch: FileWatch | None = None
        self._seen = 0
        self._behind = True

    async def start(self) -> None:
        """Begin at the newest event."""
        self._watch = FileWatch(self._database.engine)
        self._seen = await self._database.read(last_event_id)

    async def next(self, wanted: Wanted) -> list[JobEvent]:
        """Return what is new."""
        assert self._watch is not None
        if not self._watch.changed() and not self._behind:
            await asyncio.sleep(LOOK_S)
            return []
        self._behind = True
        news = await self._database.read(events_after, self._seen, limit=AT_ONCE)
        if news:
            self._seen = news[-1].id
        self._behind = len(news) == AT_ONCE
        return news

    async def close(self) -> None:
        """Close the watch."""
        if self._watch is not None:
            self._watch.close()


class ServerNews:
    """Events in a PostgreSQL server, which says whose they are when they are committed (NOTIFY)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._asked_at = -math.inf

    async def start(self) -> None:
        """Begin to listen, or do so at the first look when the server is away."""
        with contextlib.suppress(psycopg.Error):
            await self._connect()

    async def _connect(self) -> None:
        url = self._database.engine.url.set(drivername="postgresql")
        self._connection = await psycopg.AsyncConnection.connect(
            url.render_as_string(hide_password=False), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        )
        await self._connection.execute(f"LISTEN {CHANNEL}")
        self._asked_at = -math.inf

    async def next(self, wanted: Wanted) -> list[JobEvent]:
        """Return what is new; after a pause, all events of the wanted jobs."""
        try:
            named = await self._named()
        except psycopg.Error:
            await self.close()
            raise
        if time.monotonic() - self._asked_at > ASK_S:
            self._asked_at = time.monotonic()
            named = set(wanted())
        asked = named.intersection(wanted())
        return await self._database.read(events_of, sorted(asked)) if asked else []

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
            self._connection = None

    async def _named(self) -> set[str]:
        if self._connection is None:
            await self._connect()
        assert self._connection is not None
        named = {one.payload async for one in self._connection.notifies(timeout=0.5, stop_after=1)}
        return named | {one.payload async for one in self._connection.notifies(timeout=0)}


def open_news(database: Database) -> News:
    """Return the events of a database."""
    return FileNews(database) if is_embedded(database.engine) else ServerNews(database)


READING_FAILED = (SQLAlchemyError, psycopg.Error)
