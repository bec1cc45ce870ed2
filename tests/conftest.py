"""Settings of all tests: property tests have no deadline, the machines are noisy; what takes minutes begins first."""

import pytest
from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: of two processes neither should wait for the other at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/flow", "tests/faults")))
