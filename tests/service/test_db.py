import asyncio
import sqlite3
import threading
import time

import pytest
from sqlalchemy import Connection, Engine, event, func, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from service.db import AWAY, Database, open_engine, reading, writing
from service.errors import DataUnusable, Refused, refusal
from service.migrations import migrate
from service.settings import Settings
from service.tables import workers
from tests.servers import ON_BOTH_DATABASES, Postgres

WORKER = {"host": "h", "pid": 1, "started_at": 0.0, "seen_at": 0.0, "ready": False}


def count(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(workers)) or 0


def test_what_a_failed_block_wrote_is_taken_back(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(workers).values(id="w", **WORKER))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert count(engine) == 0


def test_writers_of_several_threads_wait_for_each_other(engine: Engine) -> None:
    def write(start: int) -> None:
        for number in range(start, start + 25):
            with writing(engine, durable=False) as connection:
                connection.scalar(select(func.count()).select_from(workers))
                connection.execute(insert(workers).values(id=str(number), **WORKER))

    threads = [threading.Thread(target=write, args=(1000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(engine) == 100


def test_the_database_keeps_a_log_that_survives_a_kill(engine: Engine) -> None:
    with writing(engine) as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_another_process_reads_what_was_written(engine: Engine, settings: Settings) -> None:
    with writing(engine) as connection:
        connection.execute(insert(workers).values(id="w", **WORKER))
    other = sqlite3.connect(settings.database_path)
    assert other.execute("SELECT id FROM workers").fetchall() == [("w",)]
    other.close()


def test_the_folder_of_the_database_is_made(settings: Settings) -> None:
    engine = open_engine(settings.data_dir / "deep" / "er" / "x.db")
    migrate(engine)
    assert count(engine) == 0
    engine.dispose()


def test_a_folder_that_cannot_be_made_is_named(settings: Settings) -> None:
    settings.data_dir.parent.mkdir(exist_ok=True)
    settings.data_dir.write_text("in the way")
    with pytest.raises(DataUnusable, match="cannot be made"):
        open_engine(settings.database_path)


def insert_worker(connection: Connection, name: str) -> str:
    connection.execute(insert(workers).values(id=name, **WORKER))
    return name


def answer(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


def names(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.scalars(select(workers.c.id)))


@ON_BOTH_DATABASES
def test_writes_that_come_at_once_are_all_done_and_each_is_told_its_own(database: Database) -> None:
    async def write() -> list[str]:
        try:
            return await asyncio.gather(
                *(database.write(insert_worker, f"w{number}") for number in range(200))
            )
        finally:
            await database.leave_loop()

    assert asyncio.run(write()) == [f"w{number}" for number in range(200)]
    assert len(names(database.engine)) == 200


@ON_BOTH_DATABASES
def test_of_writes_that_come_at_once_a_failed_one_takes_back_itself_alone(database: Database) -> None:
    def fail(connection: Connection, name: str) -> None:
        insert_worker(connection, name)
        raise Refused("not-found", name)

    async def write() -> list[object]:
        acts = [
            database.write(fail if number % 5 == 3 else insert_worker, f"w{number}") for number in range(50)
        ]
        try:
            # One of each two was there already.
            return await asyncio.gather(
                *acts, *(database.write(insert_worker, "twice") for _ in range(2)), return_exceptions=True
            )
        finally:
            await database.leave_loop()

    *found, one, other = asyncio.run(write())
    for number, outcome in enumerate(found):
        if number % 5 == 3:
            assert isinstance(outcome, Refused)
            assert outcome.detail == f"w{number}"
        else:
            assert outcome == f"w{number}"
    assert names(database.engine) == {f"w{n}" for n in range(50) if n % 5 != 3} | {"twice"}
    assert {type(one), type(other)} == {str, IntegrityError}


def test_writes_of_a_file_that_wait_are_committed_together(database: Database) -> None:
    commits = []
    event.listen(database.engine, "commit", commits.append)

    async def write() -> None:
        await asyncio.gather(*(database.write(insert_worker, f"w{number}") for number in range(60)))

    asyncio.run(write())
    assert len(commits) <= 3


def test_when_a_file_cannot_be_written_all_that_wait_are_told(database: Database) -> None:
    async def write() -> list[object]:
        with writing(database.engine) as connection:
            connection.execute(text("DROP TABLE workers"))
        return await asyncio.gather(
            *(database.write(insert_worker, f"w{number}") for number in range(5)), return_exceptions=True
        )

    assert {type(outcome) for outcome in asyncio.run(write())} == {OperationalError}


def test_what_nobody_waits_for_any_more_is_not_begun(database: Database) -> None:
    async def write() -> None:
        first = asyncio.create_task(database.write(insert_worker, "first"))
        later = asyncio.create_task(database.write(insert_worker, "later"))
        await asyncio.sleep(0)
        later.cancel()
        await first
        assert await database.write(insert_worker, "last") == "last"

    asyncio.run(write())
    assert names(database.engine) >= {"first", "last"}


def test_nobody_waits_for_a_server_that_says_nothing(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.db.ANSWER_S", 0.5)
    database = Database(make_url(postgres.new_database()))

    async def ask() -> None:
        assert await database.read(answer) == 1
        with postgres.frozen():
            asked_at = time.monotonic()
            with pytest.raises(AWAY):
                await database.read(answer)
            with pytest.raises(AWAY):
                await database.write(answer)
            assert time.monotonic() - asked_at < 4
        assert database.errors == 2
        assert await database.read(answer) == 1
        await database.close()

    asyncio.run(ask())


def test_a_server_that_takes_no_writes_is_one_that_is_away(postgres: Postgres) -> None:
    database = Database(make_url(postgres.new_database()))

    def write(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("CREATE TABLE one (id int)")

    async def ask() -> None:
        with pytest.raises(AWAY) as caught:
            await database.write(write)
        assert refusal(caught.value).code == "database-unavailable"
        await database.close()

    asyncio.run(ask())
    assert database.errors == 1


def test_a_file_of_another_loop_is_written_all_the_same(database: Database) -> None:
    for name in ("a", "b"):
        assert asyncio.run(database.write(insert_worker, name)) == name
    assert names(database.engine) == {"a", "b"}
