"""Waiting for a job and for its file, with a bar on standard error where somebody looks at it."""

from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.talk import EXIT_INTERRUPTED, Talk, printable, tell

if TYPE_CHECKING:
    from rich.progress import Progress
    from typer import Exit

    from service.schemas import ArtifactView, JobView


def follow(talk: Talk, job: "JobView", timeout_s: float | None) -> "JobView":
    """Show how far a job is until it has ended, and return it.

    A job is cancelled when it takes longer than ``timeout_s``, or when Ctrl-C comes.

    Raises:
        TimedOut: it took longer.
        typer.Exit: it was interrupted.
    """
    from service.client import TimedOut

    client = talk.client
    try:
        with _bar(talk) as bar:
            line = bar.add_task(job.state.value, total=1.0)
            for event in client.events(job, timeout_s=timeout_s):
                said = event.phase or (event.state and event.state.value)
                bar.update(line, description=printable(said or event.kind), completed=event.progress)
        return client.wait(job)
    except TimedOut as late:
        cancelled = _cancel(talk, job)
        if cancelled is None:
            return client.get_job(job)
        raise TimedOut(job.id, late.timeout_s, cancelled=cancelled) from None
    except KeyboardInterrupt:
        raise interrupted(talk, job) from None


def interrupted(talk: Talk, job: "JobView") -> "Exit":
    """Cancel a job, say what became of it, and return what ends the command."""
    from typer import Exit

    said = {
        True: f"{job.id} is cancelled",
        False: f"nnfactory jobs cancel {job.id} ends the job, which could not be done now",
        None: f"{job.id} had ended",
    }[_cancel(talk, job)]
    return Exit(tell(f"interrupted; {said}", EXIT_INTERRUPTED))


def fetch_file(talk: Talk, artifact: "ArtifactView | str", path: Path, public_key: str | None = None) -> Path:
    """Download a file, and show how far that is."""
    with _bar(talk) as bar:
        line = bar.add_task("downloading", total=None)
        return talk.client.download(
            artifact,
            path,
            progress=lambda here, all_: bar.update(line, completed=here, total=all_),
            public_key=public_key,
        )


def _cancel(talk: Talk, job: "JobView") -> bool | None:
    """Cancel a job; say whether that could be done, None where it had ended before."""
    from service.client import ClientError, ProblemError

    try:
        talk.client.cancel(job)
    except ClientError as error:
        return None if isinstance(error, ProblemError) and error.code == "job-already-finished" else False
    return True


def _bar(talk: Talk) -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    err = talk.err
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
