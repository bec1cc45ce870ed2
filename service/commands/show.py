"""What answers look like on a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from service.commands.talk import Talk, printable

if TYPE_CHECKING:
    from service.client import Event
    from service.schemas import ArtifactView, JobView, ModelView

FIGURES = ("latency_ms", "memory_mb", "size_mb", "accuracy")
# Stands before a figure that is foretold, where others are measured.
FORETOLD = "~"


def figure(value: float | None) -> str:
    """Return a number as it is read best, nothing where there is none."""
    return "" if value is None else f"{value:.4g}"


def show_facts(talk: Talk, facts: Mapping[str, object]) -> None:
    """Print facts, one a line; those that say nothing are left out."""
    width = max(map(len, facts))
    for name, value in facts.items():
        if value not in (None, ""):
            print(f"{name:<{width}}  {printable(value)}")


def show_job(talk: Talk, job: "JobView") -> None:
    """Print a job, and the figures of the model it made."""
    facts: dict[str, object] = {
        "job": job.id,
        "state": job.state.value,
        "phase": "" if job.done else job.phase,
        "name": job.scenario.get("name"),
        "classes": _classes(job.scenario),
        "created": job.created_at,
        "finished": job.finished_at,
    }
    if job.result is not None:
        facts["model"] = job.model_id
        facts |= _files(job.result.artifacts)
    if job.error is not None:
        facts["error"] = f"{job.error.get('code')}: {job.error.get('detail')}"
    show_facts(talk, facts)
    if job.result is not None:
        _show_limits(talk, job.result.model_dump(mode="json"))


def show_jobs(talk: Talk, jobs: Sequence["JobView"]) -> None:
    """Print jobs, one a line."""
    rows = [
        (
            one.id,
            one.state.value,
            one.scenario.get("name") or "",
            one.scenario.get("device", ""),
            one.created_at,
            (one.error or {}).get("code", ""),
        )
        for one in jobs
    ]
    talk.table(("job", "state", "name", "device", "created", "error"), rows)


def show_model(talk: Talk, model: "ModelView") -> None:
    """Print a model with its figures."""
    facts: dict[str, object] = {
        "model": model.id,
        "name": model.name,
        "classes": _classes(model.scenario),
        "device": model.scenario.get("device"),
        "created": model.created_at,
        "job": model.job_id,
        **_files(model.artifacts),
    }
    show_facts(talk, facts)
    _show_limits(talk, model.model_dump(mode="json"))


def show_models(talk: Talk, models: Sequence["ModelView"]) -> None:
    """Print models, one a line, with what was measured or else foretold, which is marked."""
    rows = [
        (
            one.id,
            one.name or "",
            *(best_known(one, name) for name in FIGURES),
            "yes" if one.limits_met else "NO",
            one.created_at,
        )
        for one in models
    ]
    heads = ("model", "name", "latency ms", "memory MB", "size MB", "accuracy", "limits met", "created")
    talk.table(heads, rows)
    if any(FORETOLD in cell for row in rows for cell in row[2:6]):
        print(f"{FORETOLD} is foretold, not measured")


def show_front(talk: Talk, front: Mapping[str, Any]) -> None:
    """Print a front: the first list of objects in it is its points."""
    points = next((each for each in front.values() if isinstance(each, list) and each), [])
    rows = [_flat(point) for point in points if isinstance(point, dict)]
    heads = list(dict.fromkeys(name for row in rows for name in row))
    talk.table(heads, [[row.get(name, "") for name in heads] for row in rows])


def tell_event(event: "Event") -> str:
    """Return a line about an event."""
    facts = [event.at, event.kind]
    facts += [event.state.value] if event.state else []
    facts += [event.phase] if event.phase else []
    facts += [f"{event.progress:.0%}"] if event.progress is not None else []
    return printable(" ".join(facts))


def _show_limits(talk: Talk, result: Mapping[str, Any]) -> None:
    from service.report import print_limits

    print_limits(talk.out, result["limits_check"], result["predicted"], result["measured"])


def best_known(model: "ModelView", name: str) -> str:
    """Return a figure as it was measured, else as it is foretold, with a mark."""
    measured = None if model.measured is None else getattr(model.measured, name)
    return f"{FORETOLD}{figure(getattr(model.predicted, name))}" if measured is None else figure(measured)


def _files(artifacts: Sequence["ArtifactView"]) -> dict[str, str]:
    return {f"{one.kind} file": f"{one.id} ({one.bytes} bytes)" for one in artifacts}


def _classes(scenario: Mapping[str, Any]) -> str:
    task = scenario.get("task")
    return ", ".join(map(str, task.get("classes", ()))) if isinstance(task, dict) else ""


def _flat(point: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in point.items():
        if isinstance(value, dict):
            found |= _flat(value)
        elif isinstance(value, float):
            found[name] = figure(value)
        elif isinstance(value, str | int):
            found[name] = str(value)
    return found
