"""Migrations of the database: every start brings an older database up to date."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from service.db import writing
from service.errors import DataUnusable

HEAD = "0002"


def migrate(engine: Engine) -> None:
    """Bring the database to the newest version, in one transaction.

    Raises:
        DataUnusable: it cannot be opened, is no database, or was written by a newer version of this program.
    """
    folder = Path(engine.url.database or "").parent
    try:
        _migrate(engine)
    except DatabaseError as error:
        raise DataUnusable(folder, f"the database cannot be used ({error.orig})") from error
    except CommandError as error:
        raise DataUnusable(folder, "the database was written by another version of this program") from error


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "service:migrations")
    with writing(engine) as connection:
        if MigrationContext.configure(connection).get_current_revision() == HEAD:
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
