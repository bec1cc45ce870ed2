"""The program's commands. Everything heavy is loaded inside the command that needs it."""

import functools
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.commands.jobs import jobs
from service.commands.models import models
from service.commands.offers import devices, supernets
from service.commands.webhooks import webhooks
from service.keyring import keyring
from service.offline import offline
from service.outcome import ending
from service.training import training

# Set before onnxruntime is loaded anywhere: it reports usage to its makers otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

app = typer.Typer(
    name="nnfactory",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Generates small neural networks for edge devices from a modular supernet.",
)

app.add_typer(training)
app.add_typer(offline)
app.add_typer(models, name="models")
app.add_typer(jobs, name="jobs")
app.add_typer(devices, name="devices")
app.add_typer(supernets, name="supernets")
app.add_typer(webhooks, name="webhooks")
app.add_typer(keyring, name="keys")

Host = Annotated[str, typer.Option(help="Name or address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Database, artifacts, profiles. Default: NNF_DATA_DIR or ./nnfactory-data."),
]


@app.command()
@ending
def serve(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> int:
    """All in one: the HTTP process and one worker process, SQLite and files under the data folder."""
    from service.server import serve as run_server
    from service.settings import read_settings, warn_of_unknown

    settings = read_settings(data_dir=data_dir)
    warn_of_unknown()
    command = (sys.executable, "-m", "service.cli", "worker", "--data-dir", str(settings.data_dir))
    return run_server(settings, host, port, command)


@app.command()
@ending
def api(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> int:
    """The HTTP process alone; workers are started beside it."""
    from service.server import serve as run_server
    from service.settings import read_settings, warn_of_unknown

    warn_of_unknown()
    return run_server(read_settings(data_dir=data_dir), host, port, None)


@app.command()
@ending
def worker(
    data_dir: DataDir = None,
    worker_id: Annotated[str | None, typer.Option(hidden=True)] = None,
    again: Annotated[bool, typer.Option("--again", hidden=True)] = False,
) -> int:
    """One worker process alone; it measures this machine before its first job."""
    from service.builder import load_builder
    from service.labour import run_worker
    from service.settings import read_settings, warn_of_unknown

    if worker_id is None:
        warn_of_unknown()
    # What came since the service started must not keep a worker from starting again.
    load = functools.partial(load_builder, strict=not again)
    return run_worker(read_settings(data_dir=data_dir), load, worker_id=worker_id)


@app.command()
@ending
def migrate(data_dir: DataDir = None) -> int:
    """Bring the database up to date; with the embedded one the other commands do so by themselves."""
    from service.db import open_engine
    from service.migrations import migrate as run_migrations
    from service.settings import read_settings

    run_migrations(open_engine(read_settings(data_dir=data_dir).database))
    return 0


@app.command()
@ending
def demo(data_dir: DataDir = None) -> int:
    """Make a model for an example scenario through the real service, and try it on images."""
    from service.demo import run_demo
    from service.settings import read_settings

    return run_demo(read_settings(data_dir=data_dir).data_dir)


if __name__ == "__main__":
    app()
