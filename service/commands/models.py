"""Commands on models: from a scenario to its file, and what became of others."""

import itertools
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.asking import Asked, read_bytes, read_scenario
from service.commands.following import fetch_file, follow, interrupted
from service.commands.show import show_front, show_job, show_model, show_models
from service.commands.talk import (
    CODES_HELP,
    EXIT_INTERRUPTED,
    EXIT_NO_MODEL,
    Talk,
    answered,
    given,
    open_talk,
    tell,
)

if TYPE_CHECKING:
    from service.schemas import ArtifactView

models = typer.Typer(
    no_args_is_help=True, help="Models: make, check, list and download them.", epilog=CODES_HELP
)

ModelId = Annotated[str, typer.Argument(help="Id of a model, mdl_...")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; it is replaced.")]


@models.command()
@answered
@given("scenario", read_scenario)
@given("talk", open_talk)
def create(
    talk: Talk,
    scenario: Asked,
    wait: Annotated[bool, typer.Option(help="Wait for the end, or print the job at once.")] = True,
    output: Output = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds; a job that takes longer is cancelled.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key and scenario make one job, for 48 h.")
    ] = None,
) -> int:
    """Make a model. Ctrl-C cancels the job."""
    from service.calls.downloads import writable
    from service.client import JobFailed, artifact_of

    if output is not None and not wait:
        raise typer.BadParameter("needs --wait", param_hint="--output")
    if output is not None:
        writable(output)
    key = idempotency_key or str(uuid.uuid4())
    try:
        job = talk.client.submit(scenario, idempotency_key=key)
    except KeyboardInterrupt:
        # It may have arrived: its key finds it.
        raise interrupted(talk, talk.client.submit(scenario, idempotency_key=key)) from None
    if not wait:
        talk.give(job, lambda: print(job.id))
        return 0
    ended = follow(talk, job, timeout)
    try:
        artifact = artifact_of(ended)
    except JobFailed as error:
        if talk.as_json:
            talk.line(ended, indent=2)
        elif error.diagnosis:
            _show_diagnosis(talk, error.diagnosis)
        raise
    if output is not None:
        fetch_file(talk, artifact, output)
    talk.give(ended, lambda: show_job(talk, ended))
    if output is not None and not talk.as_json:
        print(f"written to {output}")
    return 0


@models.command()
@answered
@given("scenario", read_scenario)
@given("talk", open_talk)
def check(talk: Talk, scenario: Asked) -> int:
    """Say whether a model can be had, without making it; exit code 4 where it cannot."""
    found = talk.client.check(scenario)

    def show() -> None:
        if found.feasible and found.predicted is not None:
            print("can be met; foretold:")
            for name, value in found.predicted.model_dump().items():
                off = f" (off by {found.accuracy_error:.2g} on average)" if name == "accuracy" else ""
                print(f"  {name} {value:.4g}{off}")
        else:
            _show_diagnosis(talk, found.model_dump(mode="json"))

    talk.give(found, show)
    return 0 if found.feasible else EXIT_NO_MODEL


@models.command()
@answered
@given("scenario", read_scenario)
@given("talk", open_talk)
def pareto(
    talk: Talk,
    scenario: Asked,
    svg: Annotated[Path | None, typer.Option(help="Write a picture to this file instead.")] = None,
) -> int:
    """Show what can be had: accuracy against latency, memory and size."""
    if svg is not None:
        svg.write_bytes(talk.client.pareto_svg(scenario))
        talk.give({"svg": str(svg)}, lambda: print(svg))
        return 0
    front = talk.client.pareto(scenario)
    talk.give(front, lambda: show_front(talk, front))
    return 0


@models.command()
@answered
@given("talk", open_talk)
def batch(
    talk: Talk,
    source: Annotated[
        str, typer.Argument(metavar="SCENARIOS", help="JSON array, or a scenario a line; - reads input.")
    ],
    wait: Annotated[bool, typer.Option(help="Wait until all have ended, or return at once.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key makes one batch.")] = None,
) -> int:
    """Submit many scenarios, all of them or none."""
    made = talk.client.batch(read_bytes(source), idempotency_key=idempotency_key)
    if not wait:
        summary = f"{made.batch_id}: {len(made.jobs)} jobs, {made.unique_builds} builds"
        talk.give(made, lambda: print(summary))
        return 0
    try:
        ended = [talk.client.wait(job.id) for job in made.jobs]
    except KeyboardInterrupt:
        return tell(f"interrupted; the jobs of {made.batch_id} go on", EXIT_INTERRUPTED)
    states = Counter(job.state.value for job in ended)
    told = ", ".join(f"{number} {state}" for state, number in states.items())
    talk.give(ended, lambda: print(f"{made.batch_id}: {told}"))
    return 0 if set(states) <= {"succeeded"} else EXIT_NO_MODEL


@models.command()
@answered
@given("talk", open_talk)
def get(talk: Talk, model_id: ModelId) -> int:
    """Show a model."""
    model = talk.client.get_model(model_id)
    talk.give(model, lambda: show_model(talk, model))
    return 0


@models.command("list")
@answered
@given("talk", open_talk)
def list_models(talk: Talk, limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50) -> int:
    """List models, newest first."""
    found = list(itertools.islice(talk.client.list_models(page_size=min(limit, 200)), limit))
    talk.give(found, lambda: show_models(talk, found))
    return 0


@models.command()
@answered
@given("talk", open_talk)
def cancel(talk: Talk, job_id: Annotated[str, typer.Argument(help="Id of the model's job, job_...")]) -> int:
    """Cancel the job that makes a model."""
    job = talk.client.cancel(job_id)
    talk.give(job, lambda: print(f"{job.id} {job.state.value}"))
    return 0


@models.command()
@answered
@given("talk", open_talk)
def download(
    talk: Talk,
    made: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a model, of its job, or of a file: mdl_, job_, art_.")
    ],
    output: Output = None,
    kind: Annotated[str, typer.Option(help="model or bundle.")] = "model",
    public_key: Annotated[
        Path | None, typer.Option(help="PEM file; what is not signed with this key is refused.")
    ] = None,
) -> int:
    """Download a model; what an interrupted download left is gone on with."""
    pem = None if public_key is None else public_key.read_text(errors="replace")
    artifact = _artifact(talk, made, kind)
    name = f"{made}.{artifact.format}" if not isinstance(artifact, str) else f"{made}.onnx"
    path = fetch_file(talk, artifact, output or Path(name), public_key=pem)
    talk.give({"path": str(path)}, lambda: print(path))
    return 0


@models.command()
@answered
@given("talk", open_talk)
def delete(talk: Talk, model_id: ModelId) -> int:
    """Remove a model and its files."""
    talk.client.delete_model(model_id)
    talk.give({"deleted": model_id}, lambda: print(f"{model_id} is removed"))
    return 0


def _artifact(talk: Talk, made: str, kind: str) -> "ArtifactView | str":
    from service.client import artifact_of

    if made.startswith("art_"):
        return made
    if made.startswith("job_"):
        return artifact_of(talk.client.get_job(made), kind)
    return artifact_of(talk.client.get_model(made), kind)


def _show_diagnosis(talk: Talk, diagnosis: dict[str, object]) -> None:
    from service.report import print_diagnosis

    print_diagnosis(talk.out, diagnosis)
