"""The database is brought to the tables of the code, and nothing else is touched."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, Table, func, insert, make_url, select, text

from service.db import open_engine, reading, writing
from service.errors import DataUnusable, SettingInvalid
from service.jobs import get_job
from service.migrations import HEAD, bring_up_to_date, migrate
from service.settings import Settings
from service.tables import metadata, workers
from tests.servers import Postgres

JOB = {
    "id": "job_1",
    "model_id": "mdl_1",
    "state": "queued",
    "progress": 0.5,
    "phases": [{"name": "assembling"}],
    "attempt": 2,
    "crashes": 1,
    "scenario": {"name": "old"},
    "request_id": "req_1",
    "created_at": 1.5,
}
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


def test_an_older_database_keeps_what_is_in_it(settings: Settings) -> None:
    engine = open_engine(settings.database_path)
    config = Config()
    config.set_main_option("script_location", "service:migrations")
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(insert(workers).values(id="w", **WORKER))
        old = Table("jobs", MetaData(), autoload_with=connection)
        connection.execute(insert(old).values(JOB))
    migrate(engine)
    with reading(engine) as connection:
        job = get_job(connection, JOB["id"])
        assert job is not None
        assert {name: getattr(job, name) for name in JOB} == JOB
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert count(engine) == 1
    engine.dispose()


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(workers).values(id="w", **WORKER))
    migrate(engine)
    assert count(engine) == 1


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


def test_a_server_is_brought_up_to_date_by_the_command_alone(postgres: Postgres) -> None:
    engine = open_engine(make_url(postgres.new_database()))
    with pytest.raises(SettingInvalid, match="nnfactory migrate"):
        bring_up_to_date(engine)
    migrate(engine)
    bring_up_to_date(engine)
    engine.dispose()


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    engine = open_engine(make_url("postgresql://nnf:secret@127.0.0.1:1/nnf"))
    for act in (migrate, bring_up_to_date):
        with pytest.raises(SettingInvalid, match=r"127\.0\.0\.1") as caught:
            act(engine)
        assert "secret" not in str(caught.value)


def test_several_programs_that_migrate_at_once_do_it_once(postgres: Postgres) -> None:
    url = make_url(postgres.new_database())

    def run() -> None:
        engine = open_engine(url)
        migrate(engine)
        engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(run) for _ in range(4)]:
            future.result()
    engine = open_engine(url)
    bring_up_to_date(engine)
    engine.dispose()
