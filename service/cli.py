"""The program's commands. Everything heavy is loaded inside the command that needs it."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="nnfactory",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Generates small neural networks for edge devices from a modular supernet.",
)

EXIT_UNUSABLE = 2
Host = Annotated[str, typer.Option(help="Name or address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Database, artifacts, profiles. Default: NNF_DATA_DIR or ./nnfactory-data."),
]


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> None:
    """All in one: the HTTP process and one worker process, SQLite and files under the data folder."""

    def run() -> int:
        from service.server import serve as run_server
        from service.settings import read_settings

        settings = read_settings(data_dir=data_dir)
        command = (sys.executable, "-m", "service.cli", "worker", "--data-dir", str(settings.data_dir))
        return run_server(settings, host, port, command)

    _run(run)


@app.command()
def api(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> None:
    """The HTTP process alone; workers are started beside it."""

    def run() -> int:
        from service.server import serve as run_server
        from service.settings import read_settings

        return run_server(read_settings(data_dir=data_dir), host, port, None)

    _run(run)


@app.command()
def worker(
    data_dir: DataDir = None, worker_id: Annotated[str | None, typer.Option(hidden=True)] = None
) -> None:
    """One worker process alone; it measures this machine before its first job."""

    def run() -> int:
        from service.builder import load_builder
        from service.labour import run_worker
        from service.settings import read_settings

        return run_worker(read_settings(data_dir=data_dir), load_builder, worker_id=worker_id)

    _run(run)


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database up to date; the other commands do so by themselves."""

    def run() -> int:
        from service.db import open_engine
        from service.migrations import migrate as run_migrations
        from service.settings import read_settings

        run_migrations(open_engine(read_settings(data_dir=data_dir).database_path))
        return 0

    _run(run)


def exit_code(command: Callable[[], int]) -> int:
    """Run a command; what the user can mend is said in one sentence, not in a traceback."""
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


def _run(command: Callable[[], int]) -> None:
    raise typer.Exit(exit_code(command))


if __name__ == "__main__":
    app()
