"""Commands on jobs."""

import itertools
from typing import Annotated

import typer

from service.commands.show import show_job, show_jobs, tell_event
from service.commands.talk import CODES_HELP, EXIT_INTERRUPTED, Talk, answered, given, open_talk, tell

jobs = typer.Typer(no_args_is_help=True, help="Jobs of a running service.", epilog=CODES_HELP)

JobId = Annotated[str, typer.Argument(help="Id of a job, job_...")]


@jobs.command()
@answered
@given("talk", open_talk)
def get(
    talk: Talk,
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait at most.")] = None,
) -> int:
    """Show a job."""
    job = talk.client.wait(job_id, timeout_s=timeout) if wait else talk.client.get_job(job_id)
    talk.give(job, lambda: show_job(talk, job))
    return 0


@jobs.command("list")
@answered
@given("talk", open_talk)
def list_jobs(
    talk: Talk,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    device: Annotated[str | None, typer.Option(help="Only those for this device.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only those with this label, key=value or key; may be repeated.")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="Only those of this batch.")] = None,
    created_after: Annotated[str | None, typer.Option(help="Only later ones: a time in UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> int:
    """List jobs, newest first."""
    every = talk.client.list_jobs(
        state=state,
        device=device,
        labels=label or (),
        batch=batch,
        created_after=created_after,
        page_size=min(limit, 200),
    )
    found = list(itertools.islice(every, limit))
    talk.give(found, lambda: show_jobs(talk, found))
    return 0


@jobs.command()
@answered
@given("talk", open_talk)
def cancel(talk: Talk, job_id: JobId) -> int:
    """Cancel a job; a running one ends within 10 s."""
    job = talk.client.cancel(job_id)
    talk.give(job, lambda: print(f"{job.id} {job.state.value}"))
    return 0


@jobs.command()
@answered
@given("talk", open_talk)
def events(
    talk: Talk,
    job_id: JobId,
    after: Annotated[str | None, typer.Option(help="Only events after the one of this id.")] = None,
) -> int:
    """Tell what happens to a job until it has ended; with --json one event a line."""
    try:
        for event in talk.client.events(job_id, after=after):
            if talk.as_json:
                talk.line(event)
            else:
                print(tell_event(event), flush=True)
    except KeyboardInterrupt:
        return tell("interrupted; the job goes on", EXIT_INTERRUPTED)
    return 0
