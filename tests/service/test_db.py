import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, insert, select, text

from service.db import Watch, open_engine, reading, writing
from service.errors import DataUnusable
from service.migrations import HEAD, migrate
from service.settings import Settings
from service.tables import metadata, workers

WORKER = {"host": "h", "pid": 1, "started_at": 0.0, "seen_at": 0.0, "ready": False}


def count(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(workers)) or 0


def test_the_migrations_make_exactly_the_tables_of_the_code(engine: Engine) -> None:
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_migration_is_the_one_a_start_looks_for() -> None:
    config = Config()
    config.set_main_option("script_location", "service:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(workers).values(id="w", **WORKER))
    migrate(engine)
    assert count(engine) == 1


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


def test_a_watch_notices_what_others_write_and_nothing_else(engine: Engine, settings: Settings) -> None:
    watch = Watch(settings.database_path)
    assert not watch.changed()
    with reading(engine) as connection:
        connection.scalar(select(func.count()).select_from(workers))
    assert not watch.changed()
    with writing(engine) as connection:
        connection.execute(insert(workers).values(id="w", **WORKER))
    assert watch.changed()
    assert not watch.changed()
    watch.close()


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


def test_a_file_that_is_no_database_is_refused_in_one_sentence(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    settings.database_path.write_bytes(b"no database at all" * 1000)
    engine = open_engine(settings.database_path)
    with pytest.raises(DataUnusable, match="cannot be used"):
        migrate(engine)
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DataUnusable, match="another version"):
        migrate(engine)
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
