"""The database: one SQLite file beside the artifacts, read and written by every process of the service.

A transaction says at its start whether it writes: a writer takes the lock at once (BEGIN IMMEDIATE), so that
it never fails half way because another process was faster.
"""

import functools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from service.errors import DataUnusable

BUSY_TIMEOUT_MS = 10_000


def open_engine(path: Path) -> Engine:
    """Return an engine for the database file, whose folder is made when it is missing.

    Raises:
        DataUnusable: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataUnusable(path.parent, f"it cannot be made ({error.strerror})") from error
    # Keys of documents are compared as they are written: an escaped letter would be another one.
    engine = create_engine(f"sqlite:///{path}", pool_size=8, max_overflow=40, json_serializer=_json)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that sees one state of the database."""
    with engine.connect() as connection, connection.begin():
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


class Watch:
    """Notices that somebody else wrote to the database, for the price of a few microseconds a look."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
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


_json = functools.partial(json.dumps, ensure_ascii=False)


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", f"busy_timeout = {BUSY_TIMEOUT_MS}", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("nnf_write"):
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options['nnf_durable'] else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
