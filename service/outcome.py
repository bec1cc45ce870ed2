"""How a command ends: what the user can mend is one sentence and an exit code, not a traceback."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

import typer

from service.logs import say, set_up_logs

EXIT_UNUSABLE = 2

P = ParamSpec("P")


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; 2 when it cannot work as things are."""
    from assembler.errors import AssemblerError, MeasurementFailed
    from service.errors import ServiceError
    from supernet.errors import SupernetError

    set_up_logs()
    try:
        return command()
    except (AssemblerError, ServiceError, SupernetError) as error:
        say(f"nnfactory: {error}", logging.ERROR)
        # What could not be measured this time may be measured the next.
        return 1 if isinstance(error, MeasurementFailed) else EXIT_UNUSABLE


def ending(command: Callable[P, int]) -> Callable[P, None]:
    """Turn a function that returns an exit code into a command."""

    @functools.wraps(command)
    def run(*values: P.args, **named: P.kwargs) -> None:
        raise typer.Exit(exit_code(lambda: command(*values, **named)))

    run.__annotations__["return"] = None
    return run
