"""What is inserted the quick way is what the toolkit inserts."""

from collections.abc import Iterator

import pytest
from sqlalchemy import JSON, Column, Engine, Float, Integer, MetaData, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from service.db import writing
from service.inserts import Insert
from tests.servers import ON_BOTH_DATABASES

pytestmark = ON_BOTH_DATABASES

ROWS = Table(
    "quick",
    MetaData(),
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", String, unique=True),
    Column("at", Float),
    Column("document", JSON, nullable=False),
    Column("owner", String, server_default="default"),
)
DOCUMENTS = ({"a": [1, 2.5, None, True], "é": '"\\%(name)s ? :name'}, [], {}, "text", 7)


@pytest.fixture
def table(engine: Engine) -> Iterator[Table]:
    ROWS.metadata.create_all(engine)
    yield ROWS
    ROWS.metadata.drop_all(engine)


def test_rows_come_back_as_those_that_the_toolkit_inserts(engine: Engine, table: Table) -> None:
    quick = Insert(table, ("name", "at", "document"))
    rows = [
        {"name": f"{place} %s ?", "at": None if place else 0.1, "document": document}
        for place, document in enumerate(DOCUMENTS)
    ]
    found = []
    for act in (
        lambda connection: quick(connection, rows),
        lambda connection: [quick(connection, [row]) for row in rows],
        lambda connection: connection.execute(insert(table), rows),
    ):
        with writing(engine) as connection:
            act(connection)
            query = select(table.c.name, table.c.at, table.c.document, table.c.owner).order_by(table.c.number)
            found.append([tuple(row) for row in connection.execute(query)])
            connection.rollback()
    assert found[0] == found[1] == found[2]
    assert [row[2] for row in found[0]] == list(DOCUMENTS)
    assert {row[3] for row in found[0]} == {"default"}


def test_what_the_database_refuses_is_refused_as_always(engine: Engine, table: Table) -> None:
    quick = Insert(table, ("name", "at", "document"))
    with writing(engine) as connection:
        quick(connection, [{"name": "one", "at": 1.0, "document": 1}])
        with pytest.raises(IntegrityError):
            quick(connection, [{"name": "one", "at": 1.0, "document": 1}])
        connection.rollback()


def test_a_row_must_have_every_column(engine: Engine, table: Table) -> None:
    with writing(engine) as connection, pytest.raises(KeyError):
        Insert(table, ("name", "at", "document"))(connection, [{"name": "one", "at": 1.0}])
