import sqlite3
import threading

import pytest
from sqlalchemy import Engine, func, insert, select, text

from service.db import open_engine, reading, writing
from service.errors import DataUnusable
from service.migrations import migrate
from service.settings import Settings
from service.tables import workers

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
