"""The database: one SQLite file beside the artifacts, or a PostgreSQL server that many machines share.

A transaction says at its start whether it writes. In SQLite a writer takes the lock at once (BEGIN IMMEDIATE), so
that it never fails half way because another process was faster. In PostgreSQL writers run beside each other: what
must not happen twice is a conditional UPDATE, or is done by one at a time (``one_at_a_time``).
"""

import asyncio
import functools
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.concurrency import run_in_threadpool

from service.errors import DataUnusable

BUSY_TIMEOUT_MS = 10_000
# So many writes of one process are committed together at most.
TOGETHER = 64
# After so many at once, the next are waited for a little: a commit costs the same for few and for many.
SEVERAL, GATHER_S = 3, 0.002
DRIVER = "postgresql+psycopg"
# A server that does not answer within so long is away.
CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_MS = 15_000
ANSWER_S = 10.0
POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 24, "pool_timeout": 10, "pool_pre_ping": True}


class DatabaseSilent(SQLAlchemyError):
    """The server does not answer, though its connections stand."""


# What is raised because the database cannot be used now: away, silent, read-only, or too many ask.
AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout, DatabaseSilent)

P = ParamSpec("P")
T = TypeVar("T")


def file_url(path: Path) -> URL:
    """Return the address of a SQLite file."""
    return URL.create("sqlite", database=str(path))


def is_embedded(engine: Engine) -> bool:
    """Return whether it is a file of this machine."""
    return engine.dialect.name == "sqlite"


def open_engine(url: URL | Path) -> Engine:
    """Return an engine for a database; the folder of a file is made when it is missing.

    Args:
        url: of SQLite or PostgreSQL, or the path of a SQLite file. A server is not asked yet.

    Raises:
        DataUnusable: the folder cannot be made.
    """
    if isinstance(url, Path):
        url = file_url(url)
    if url.get_backend_name() == "sqlite":
        return _open_file(url)
    engine = create_engine(url.set(drivername=DRIVER), **_server_options())
    event.listen(engine, "begin", _begin_on_server)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one state of the database."""
    with engine.connect() as connection:
        connection = connection.execution_options(**_reading_options(engine))
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """Open a transaction that may write; it is rolled back when the block raises.

    Args:
        engine: the database.
        durable: whether it must survive a power cut; a kill of the process it survives in any case.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(nnf_write=True, nnf_durable=durable)
        with connection.begin():
            yield connection


class Database:
    """The database as the HTTP process uses it: what is done in a transaction is a function of its connection.

    ``engine`` is the same database for those who may wait, such as what happens once at start; ``errors`` counts what
    failed because the database could not be used.
    """

    def __init__(self, url: URL | Path) -> None:
        """Prepare to use a database.

        Raises:
            DataUnusable: the folder of a SQLite file cannot be made.
        """
        self.engine = open_engine(url)
        self.errors = 0
        self._async: AsyncEngine | None = None
        self._attempts: set[asyncio.Task[Any]] = set()
        self._waiting: list[_Write] = []
        self._writing: asyncio.Task[None] | None = None

    async def read(
        self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Return what a function reads in one state of the database."""
        return await self._run(reading, _reading_options(self.engine), act, *args, **options)

    async def write(
        self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """Return what a function makes of a writing transaction, which is rolled back when it raises."""
        return await self._run(writing, {"nnf_write": True, "nnf_durable": True}, act, *args, **options)

    async def note(
        self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **options: P.kwargs
    ) -> T:
        """As ``write``, of what may be lost in a power cut."""
        noting = functools.partial(writing, durable=False)
        return await self._run(noting, {"nnf_write": True, "nnf_durable": False}, act, *args, **options)

    async def close(self) -> None:
        """Close all connections."""
        await self.leave_loop()
        self.engine.dispose()

    async def leave_loop(self) -> None:
        """Close the connections that belong to this event loop; others are opened where they are needed."""
        if self._async is not None:
            await self._async.dispose()
            self._async = None

    async def _run(
        self,
        opening: Callable[[Engine], Any],
        transaction: dict[str, Any],
        act: Callable[..., T],
        *args: Any,
        **options: Any,
    ) -> T:
        attempt = self._attempt(opening, transaction, act, *args, **options)
        try:
            return await (attempt if is_embedded(self.engine) else self._in_time(attempt))
        except AWAY:
            self.errors += 1
            raise

    async def _in_time(self, attempt: Coroutine[Any, Any, T]) -> T:
        """Return what an attempt returns.

        Raises:
            DatabaseSilent: the server has not answered; nobody waits any longer, nor for the driver, which would wait
                for an answer even to be cancelled.
        """
        task = asyncio.create_task(attempt)
        self._attempts.add(task)
        task.add_done_callback(self._end_attempt)
        try:
            await asyncio.wait((task,), timeout=ANSWER_S)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        task.cancel()
        raise DatabaseSilent(f"no answer in {ANSWER_S:g} s")

    def _end_attempt(self, task: asyncio.Task[Any]) -> None:
        self._attempts.discard(task)
        if not task.cancelled():
            # Asked for once, it is no surprise to anybody when nobody waits for it any more.
            task.exception()

    async def _attempt(
        self,
        opening: Callable[[Engine], Any],
        transaction: dict[str, Any],
        act: Callable[..., T],
        *args: Any,
        **options: Any,
    ) -> T:
        if is_embedded(self.engine):
            if "nnf_write" not in transaction:
                return await run_in_threadpool(_do, opening, self.engine, act, args, options)
            write = _Write(lambda connection: act(connection, *args, **options), transaction["nnf_durable"])
            return cast(T, await self._in_turn(write))
        if self._async is None:
            self._async = create_async_engine(self.engine.url, **_server_options())
            event.listen(self._async.sync_engine, "begin", _begin_on_server)
        async with self._async.connect() as connection:
            connection = await connection.execution_options(**transaction)
            async with connection.begin():
                return await connection.run_sync(act, *args, **options)

    async def _in_turn(self, write: "_Write") -> Any:
        """Return what a write of the file returns; those that wait for their turn are committed together.

        A file has one writer at a time, and a commit waits for the disk: many small ones would wait long.
        """
        self._waiting.append(write)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return await write.result

    async def _write_all(self) -> None:
        several = False
        while self._waiting:
            if several and len(self._waiting) < TOGETHER:
                # Those that were answered just now are about to ask again.
                await asyncio.sleep(GATHER_S)
            together, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            # Who asked is gone: nothing was done yet, and nothing is.
            together = [write for write in together if not write.result.cancelled()]
            several = len(together) >= SEVERAL
            if not together:
                continue
            try:
                outcomes = await run_in_threadpool(_write_together, self.engine, together)
            except Exception as error:
                outcomes = [error] * len(together)
            for write, outcome in zip(together, outcomes, strict=True):
                if write.result.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    write.result.set_exception(outcome)
                else:
                    write.result.set_result(outcome)


class _Write:
    """Something that is to be done in a writing transaction, and what comes of it."""

    def __init__(self, act: Callable[[Connection], Any], durable: bool) -> None:
        self.act = act
        self.durable = durable
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


def _write_together(engine: Engine, together: Sequence[_Write]) -> list[Any]:
    """Do several things in one transaction; return what each returned, or raised, which takes back that one alone."""
    outcomes: list[Any] = []
    with writing(engine, durable=any(write.durable for write in together)) as connection:
        for write in together:
            _say(connection, "SAVEPOINT one")
            try:
                outcomes.append(write.act(connection))
                _say(connection, "RELEASE one")
            except Exception as error:
                _say(connection, "ROLLBACK TO one")
                _say(connection, "RELEASE one")
                # Of a full disk all must hear; a row that was there already is one write's own fault.
                if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
                    raise
                outcomes.append(error)
    return outcomes


def _say(connection: Connection, statement: str) -> None:
    """Have SQLite do something at once: by the toolkit a savepoint takes as long as a row."""
    try:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statement, None, error) from error


def one_at_a_time(connection: Connection, name: str) -> None:
    """Let no other transaction that says the same name be beyond this point until this one has ended."""
    # SQLite has one writer at a time in any case.
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(number)))


def now_in(connection: Connection) -> float:
    """Return the time that all who use this database agree on, s since 1970 UTC: a server's own clock."""
    if connection.dialect.name != "postgresql":
        return time.time()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _do(
    opening: Callable[[Engine], Any],
    engine: Engine,
    act: Callable[..., T],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> T:
    with opening(engine) as connection:
        return act(connection, *args, **options)


def _open_file(url: URL) -> Engine:
    folder = Path(url.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataUnusable(folder, f"it cannot be made ({error.strerror})") from error
    engine = create_engine(url, pool_size=8, max_overflow=40, pool_use_lifo=True, json_serializer=_json)
    event.listen(engine, "connect", _configure_file)
    event.listen(engine, "begin", _begin_in_file)
    return engine


# Keys of documents are compared as they are written: an escaped letter would be another one.
_json = functools.partial(json.dumps, ensure_ascii=False)


def _server_options() -> dict[str, Any]:
    connect = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
        "application_name": "nnfactory",
        # Of a server that went without a word the system tells after this.
        **{
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    }
    return {**POOL, "json_serializer": _json, "connect_args": connect}


def _reading_options(engine: Engine) -> dict[str, Any]:
    return {} if is_embedded(engine) else {"isolation_level": "REPEATABLE READ"}


def _configure_file(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", f"busy_timeout = {BUSY_TIMEOUT_MS}", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_in_file(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("nnf_write"):
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options['nnf_durable'] else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_on_server(connection: Connection) -> None:
    if connection.get_execution_options().get("nnf_durable") is False:
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
