"""What several tests of this room start from."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from service.app import create_app
from service.catalog import Catalog
from service.db import open_engine
from service.house import House
from service.listeners import Listeners
from service.migrations import migrate
from service.pulse import Pulse
from service.settings import Settings
from service.store import FileStore
from service.worker import Builder, Worker
from service.zoo import find_members
from tests.service.making import Building, write_member


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", beat_s=0.05, lease_s=10.0)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = open_engine(settings.database_path)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def house(settings: Settings, engine: Engine, tmp_path: Path) -> House:
    members = find_members([write_member(tmp_path / "zoo" / "clothes").parent])
    return House(
        settings=settings,
        engine=engine,
        store=FileStore(settings.store_path),
        catalog=Catalog(settings.data_dir, members),
        listeners=Listeners(engine, settings.database_path),
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
