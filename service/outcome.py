"""How a command ends: what the user can mend is one sentence and an exit code, not a traceback."""

import functools
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer

EXIT_UNUSABLE = 2

P = ParamSpec("P")


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; 2 when it cannot work as things are."""
    from assembler.errors import AssemblerError, MeasurementFailed
    from service.errors import ServiceError
    from supernet.errors import SupernetError

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return command()
    except (AssemblerError, ServiceError, SupernetError) as error:
        print(f"nnfactory: {error}", file=sys.stderr)
        # What could not be measured this time may be measured the next.
        return 1 if isinstance(error, MeasurementFailed) else EXIT_UNUSABLE


def ending(command: Callable[P, int]) -> Callable[P, None]:
    """Turn a function that returns an exit code into a command."""

    @functools.wraps(command)
    def run(*values: P.args, **named: P.kwargs) -> None:
        raise typer.Exit(exit_code(lambda: command(*values, **named)))

    run.__annotations__["return"] = None
    return run
