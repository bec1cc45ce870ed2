"""Migrations of the database: every start brings an older file up to date, a command does so with a server."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from service.db import is_embedded, one_at_a_time, reading, writing
from service.errors import DataUnusable, SettingInvalid

HEAD = "0011"


def bring_up_to_date(engine: Engine) -> None:
    """Bring a file to the newest version; check that a server is there and has it.

    Raises:
        DataUnusable: as ``migrate``.
        SettingInvalid: the server cannot be used, or has another version.
    """
    if is_embedded(engine):
        migrate(engine)
        return
    try:
        with reading(engine) as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
    except DatabaseError as error:
        raise _unusable(engine, error) from error
    if revision is None:
        raise SettingInvalid("the database of NNF_DATABASE_URL has no tables yet: run `nnfactory migrate`")
    if revision != HEAD:
        raise SettingInvalid(
            f"the database of NNF_DATABASE_URL has version {revision}, this program wants {HEAD}: "
            "run `nnfactory migrate` of the newest program"
        )


def migrate(engine: Engine) -> None:
    """Bring the database to the newest version, in one transaction.

    Raises:
        DataUnusable: it cannot be opened, is no database, or was written by a newer version of this program.
        SettingInvalid: likewise, of a server.
    """
    try:
        _migrate(engine)
    except DatabaseError as error:
        if not is_embedded(engine):
            raise _unusable(engine, error) from error
        raise DataUnusable(_folder(engine), f"the database cannot be used ({error.orig})") from error
    except CommandError as error:
        newer = "the database was written by another version of this program"
        if not is_embedded(engine):
            raise SettingInvalid(f"NNF_DATABASE_URL: {newer}") from error
        raise DataUnusable(_folder(engine), newer) from error


def _folder(engine: Engine) -> Path:
    return Path(engine.url.database or "").parent


def _unusable(engine: Engine, error: DatabaseError) -> SettingInvalid:
    place = engine.url.set(drivername="postgresql").render_as_string(hide_password=True)
    # The server's own words are on several lines and may go on for long.
    reason = str(error.orig).strip().splitlines()[0]
    return SettingInvalid(f"the database of NNF_DATABASE_URL, {place}, cannot be used: {reason}")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "service:migrations")
    with writing(engine) as connection:
        one_at_a_time(connection, "migrate")
        if MigrationContext.configure(connection).get_current_revision() == HEAD:
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
