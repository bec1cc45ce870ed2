"""What tests of commands start from."""

from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.service.commands.running import run


@pytest.fixture
def ask(url: str) -> Callable[..., Result]:
    """Run a command that asks the real service."""
    return lambda *arguments, **options: run(url, *arguments, **options)
