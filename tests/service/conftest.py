"""What several tests of this room start from."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import URL, Engine, make_url

from service.app import create_app
from service.backlog import Backlog
from service.catalog import Catalog
from service.db import Database, open_engine
from service.deliveries import Announcer
from service.house import House
from service.listeners import Listeners
from service.metrics import Metrics
from service.migrations import migrate
from service.pulse import Pulse
from service.settings import Settings
from service.signing import open_signer
from service.store import FileStore
from service.worker import Builder, Worker
from service.zoo import find_members
from tests.servers import Postgres
from tests.service.making import Building, write_member
from tests.service.process import House as Running
from tests.service.process import running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = metafunc.definition.get_closest_marker("both_databases") is not None
    if asked and "database_kind" in metafunc.fixturenames:
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a database that others are made out of."""
    url = postgres.new_database()
    engine = open_engine(make_url(url))
    migrate(engine)
    engine.dispose()
    return url.rpartition("/")[2]


@pytest.fixture
def database_kind() -> str:
    """``sqlite`` unless a module is marked ``both_databases``."""
    return "sqlite"


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> Iterator[URL | None]:
    if database_kind == "sqlite":
        yield None
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.new_database(request.getfixturevalue("migrated"))
    yield make_url(url)
    server.drop(url)


@pytest.fixture
def settings(tmp_path: Path, database_url: URL | None) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=database_url, beat_s=0.05, lease_s=10.0)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database)
    migrate(database.engine)
    yield database
    asyncio.run(database.close())


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine


@pytest.fixture
def house(settings: Settings, database: Database, tmp_path: Path) -> House:
    members = find_members([write_member(tmp_path / "zoo" / "clothes").parent])
    return House(
        settings=settings,
        database=database,
        store=FileStore(settings.store_path),
        catalog=Catalog(settings.data_dir, members),
        listeners=Listeners(database),
        announcer=Announcer(settings.redis_url),
        backlog=Backlog(),
        metrics=Metrics(),
        signer=open_signer(settings),
    )


@pytest.fixture
def app(house: House) -> FastAPI:
    return create_app(house)


@pytest.fixture
def worker_with(house: House) -> Callable[[Builder], Worker]:
    def make(builder: Builder | None = None, worker: str = "wrk_1") -> Worker:
        pulse = Pulse(house.engine, house.settings, worker)
        return Worker(house.settings, house.engine, house.store, builder or Building(), pulse, worker)

    return make


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop."""
    server = Postgres()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def own_database(own_postgres: Postgres) -> Iterator[Database]:
    database = Database(make_url(own_postgres.url()))
    migrate(database.engine)
    yield database
    asyncio.run(database.close())


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A whole service in processes of its own, for all tests of clients and commands."""
    folder: Path = tmp_path_factory.mktemp("served")
    with running(folder / "data", write_member(folder / "zoo" / "clothes").parent) as served:
        served.wait_ready()
        yield served


@pytest.fixture
def url(served: Running) -> str:
    return str(served.client.base_url)
