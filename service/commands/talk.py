"""What the client's commands share: the connection, what they print, and how they end."""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from service.client import Client

P = ParamSpec("P")
EXIT_PROBLEM = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_NO_MODEL = 4
EXIT_TIMED_OUT = 5
EXIT_INTERRUPTED = 130
CODES_HELP = (
    "Exit codes: 0 done; 1 the service answered with a problem, or not as it should; 2 the command cannot be "
    "used so; 3 the service cannot be reached; 4 there is no model: infeasible, failed, cancelled or expired; "
    "5 it took longer than --timeout; 130 interrupted."
)


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation with the service, and with the person or program that started the command."""

    client: "Client"
    as_json: bool

    @property
    def out(self) -> "Console":
        """Where tables go."""
        from rich.console import Console

        return Console()

    @property
    def err(self) -> "Console":
        """Where progress goes."""
        from rich.console import Console

        return Console(stderr=True)

    def give(self, value: Any, show: Callable[[], None]) -> None:
        """Print a result: its JSON and nothing else with ``--json``, else as the function shows it."""
        if self.as_json:
            self.line(value, indent=2)
        else:
            show()

    def line(self, value: Any, indent: int | None = None) -> None:
        """Print the JSON of a value."""
        from service.client import exact

        print(json.dumps(exact(value), indent=indent, ensure_ascii=False), flush=True)

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table, whose first column is never broken; where there is no terminal, none is."""
        from rich.table import Table
        from rich.text import Text

        table = Table(*heads, box=None, header_style="bold", pad_edge=False)
        if table.columns:
            table.columns[0].no_wrap = True
        for row in rows:
            table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
        out = self.out
        if not out.is_terminal:
            out.width = 1000
        out.print(table)


@contextmanager
def open_talk(
    url: Annotated[
        str, typer.Option(envvar="NNF_URL", help="Address of the service.")
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None, typer.Option(envvar="NNF_KEY", help="API key; others may see it in a command line.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")
    ] = False,
    retry_s: Annotated[
        float, typer.Option(min=0, help="How long to try again where the service does not answer.")
    ] = 10.0,
) -> Iterator[Talk]:
    """Open a conversation with the service, and close it."""
    from service.client import Client, Patience, ProblemError

    with Client(url, key or None, patience=Patience(total_s=retry_s)) as client:
        talk = Talk(client, as_json)
        try:
            yield talk
        except ProblemError as error:
            if as_json and error.body:
                talk.line(error.body, indent=2)
            raise


def given(name: str, make: Callable[..., Any]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Replace a parameter of a command by the parameters of a function that makes its value.

    What the function returns is entered and left if it is a context.
    """
    asked = inspect.signature(make).parameters

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        own = [one for one in inspect.signature(command).parameters.values() if one.name != name]

        @functools.wraps(command)
        def run(**values: Any) -> int:
            with ExitStack() as stack:
                made = make(**{each: values.pop(each) for each in asked})
                if isinstance(made, AbstractContextManager):
                    made = stack.enter_context(made)
                return command(**{name: made}, **values)

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *asked.values())]
        run.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def answered(command: Callable[P, int]) -> Callable[P, None]:
    """Turn a function that returns an exit code into a command: what goes wrong is one line and another code."""

    @functools.wraps(command)
    def run(*values: P.args, **named: P.kwargs) -> None:
        from service.client import ClientError

        try:
            code = command(*values, **named)
        except ClientError as error:
            code = _told(error)
        except BrokenPipeError:
            # Who read has enough; nothing more is to be written at the end either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 0
        except OSError as error:
            code = tell(f"{error.filename or 'a file'}: {error.strerror or error}", EXIT_USAGE)
        except KeyboardInterrupt:
            code = tell("interrupted", EXIT_INTERRUPTED)
        raise typer.Exit(code)

    run.__annotations__["return"] = None
    return run


def tell(sentence: str, code: int) -> int:
    """Print why a command ends with a code, and return the code."""
    print(f"nnfactory: {printable(sentence)}", file=sys.stderr, flush=True)
    return code


def printable(value: object) -> str:
    """Return a text that does nothing to a terminal but stand on it."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _told(error: Exception) -> int:
    from service.client import ArgumentInvalid, JobFailed, TimedOut, Unreachable

    codes = {
        ArgumentInvalid: EXIT_USAGE,
        Unreachable: EXIT_UNREACHABLE,
        JobFailed: EXIT_NO_MODEL,
        TimedOut: EXIT_TIMED_OUT,
    }
    sentence = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return tell(sentence, codes.get(type(error), EXIT_PROBLEM))
