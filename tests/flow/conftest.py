"""The real service, as a user starts it, with the shipped supernet."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from service.zoo import shipped_zoo
from tests.conftest import Once
from tests.service.process import House, started

FIRST_START_S = 120.0


@pytest.fixture(scope="session")
def zoo_member() -> Path:
    return shipped_zoo() / "fashion"


@pytest.fixture(scope="session")
def start() -> Callable[[Path], AbstractContextManager[House]]:
    def start(data_dir: Path) -> AbstractContextManager[House]:
        return started(["service.cli", "serve", "--port", "0", "--data-dir", str(data_dir)], data_dir)

    return start


@pytest.fixture(scope="session")
def profiled(
    once: Once,
    tmp_path_factory: pytest.TempPathFactory,
    start: Callable[[Path], AbstractContextManager[House]],
) -> Path:
    """A data folder in which this machine is measured already."""

    def measure(folder: Path) -> None:
        with start(folder) as house:
            house.wait_ready(FIRST_START_S)

    data_dir = tmp_path_factory.mktemp("profiled") / "data"
    shutil.copytree(once("profiled", measure) / "profiles", data_dir / "profiles")
    return data_dir


@pytest.fixture(scope="module")
def house(profiled: Path, start: Callable[[Path], AbstractContextManager[House]]) -> Iterator[House]:
    with start(profiled) as house:
        house.wait_ready(FIRST_START_S)
        yield house
