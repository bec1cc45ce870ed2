from collections.abc import Iterator

import pytest

from tests.faults.fleet import Fleet, fleet


@pytest.fixture(scope="module")
def fleet_of_module() -> Iterator[Fleet]:
    with fleet(apis=2, workers=2) as found:
        yield found


@pytest.fixture
def running(fleet_of_module: Fleet) -> Fleet:
    """A service of two HTTP processes and two workers that is ready, whatever was done to it before."""
    fleet_of_module.keep()
    fleet_of_module.wait_ready(60)
    return fleet_of_module
