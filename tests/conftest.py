"""Settings of all tests: property tests have no deadline, the machines are noisy; what takes minutes begins first."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.commands import train_stripes

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes run the tests: each, and what it starts, computes on one thread, lest they wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

Once = Callable[[str, Callable[[Path], object]], Path]

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: of the processes none should be waited for at the end.

    The first measures this machine for the others, which are not to wait for it.
    """
    order = ("tests/flow/test_commands", "tests/faults", "tests/flow")
    items.sort(
        key=lambda item: next((n for n, one in enumerate(order) if item.nodeid.startswith(one)), len(order))
    )


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder once, however many processes run the tests, and return it: to be read only."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / f"{name}-once"
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                made = tmp_path_factory.mktemp(name)
                make(made)
                shutil.copytree(made, folder.with_suffix(".new"))
                folder.with_suffix(".new").rename(folder)
        return folder

    return once


@pytest.fixture
def stripes(once: Once, tmp_path: Path) -> Path:
    """A folder with a small data set and a supernet that was trained on it."""
    folder: Path = shutil.copytree(once("stripes", train_stripes), tmp_path / "stripes")
    return folder
