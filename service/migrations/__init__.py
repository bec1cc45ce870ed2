"""Migrations of the database: every start brings an older database up to date."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from service.db import writing

HEAD = "0001"


def migrate(engine: Engine) -> None:
    """Bring the database to the newest version, in one transaction."""
    config = Config()
    config.set_main_option("script_location", "service:migrations")
    with writing(engine) as connection:
        if MigrationContext.configure(connection).get_current_revision() == HEAD:
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
