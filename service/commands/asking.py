"""A scenario out of what stands in a command line: a file, options, or a file that options change."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Asked = bytes | dict[str, Any]
NO_SCENARIO = "a file with a scenario, - for standard input, or --classes with limits is needed"


def read_scenario(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO.json",
            help="File with a scenario; - reads standard input. Options change what it says.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Names with commas between them, in the order of the outputs; may be repeated."),
    ] = None,
    other: Annotated[bool | None, typer.Option("--other", help="Add an output for none of these.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of the task: classification or detection.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="At most, for one image.")] = None,
    latency_percentile: Annotated[int | None, typer.Option(help="Of the measured runs.")] = None,
    memory_mb: Annotated[float | None, typer.Option(help="At most.")] = None,
    size_mb: Annotated[float | None, typer.Option(help="At most, of the model file.")] = None,
    accuracy_min: Annotated[float | None, typer.Option(help="At least, 0..1.")] = None,
    device: Annotated[str | None, typer.Option(help="That the model is for.")] = None,
    supernet: Annotated[str | None, typer.Option(help="To cut the model out of.")] = None,
    format: Annotated[str | None, typer.Option(help="Of the model file.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of its numbers.")] = None,
    on_infeasible: Annotated[str | None, typer.Option(help="fail or nearest.")] = None,
    deadline_s: Annotated[
        float | None, typer.Option(help="Seconds; a job that has not ended by then ends.")
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify", help="Compare, score and measure the model, or not. Default: do."
        ),
    ] = None,
    refine_s: Annotated[float | None, typer.Option(help="Train the model for its task for so long.")] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="key=value; may be repeated.")] = None,
) -> Asked:
    """Return a scenario; a file that no option changes is passed on as it is, byte for byte.

    Raises:
        typer.BadParameter: there is none, or a file cannot be read.
    """
    changes: dict[str, Any] = {
        "task": {"kind": kind, "classes": _names(classes), "other": other},
        "limits": {
            "latency_ms": latency_ms,
            "latency_percentile": latency_percentile,
            "memory_mb": memory_mb,
            "size_mb": size_mb,
            "accuracy_min": accuracy_min,
        },
        "device": device,
        "supernet": supernet,
        "format": format,
        "precision": precision,
        "on_infeasible": on_infeasible,
        "deadline_s": deadline_s,
        "verify": verify,
        "refine": {"seconds": refine_s},
        "name": name,
        "labels": _labels(label),
    }
    wanted = _set(changes)
    if source is None:
        if not wanted:
            raise typer.BadParameter(NO_SCENARIO, param_hint="SCENARIO.json")
        if "task" in wanted:
            wanted["task"] = {"kind": "classification", **wanted["task"]}
        return wanted
    raw = read_bytes(source)
    return _merged(raw, wanted) if wanted else raw


def read_bytes(source: str) -> bytes:
    """Return what stands in a file, or in standard input for ``-``.

    Raises:
        typer.BadParameter: it cannot be read.
    """
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {source}: {error.strerror}") from error


def _merged(raw: bytes, changes: dict[str, Any]) -> dict[str, Any]:
    try:
        scenario = json.loads(raw)
    except ValueError as error:
        raise typer.BadParameter(f"the scenario is no JSON: {error}") from error
    if not isinstance(scenario, dict):
        raise typer.BadParameter("the scenario is no JSON object")
    for field, value in changes.items():
        known = scenario.get(field)
        scenario[field] = {**known, **value} if isinstance(value, dict) and isinstance(known, dict) else value
    return scenario


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are set; an object of which none is set is not set itself."""
    found = {name: _set(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in found.items() if value is not None and value != {}}


def _names(classes: list[str] | None) -> list[str] | None:
    if not classes:
        return None
    return [name.strip() for text in classes for name in text.split(",") if name.strip()]


def _labels(texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            raise typer.BadParameter("must be key=value", param_hint="--label")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}
