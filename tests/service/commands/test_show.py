"""What answers look like on a terminal."""

from collections.abc import Callable

from typer.testing import Result

from assembler.artifact import Measured, Predicted
from service.calls.events import Event
from service.commands.show import FIGURES, best_known, figure, tell_event
from service.schemas import ModelView
from tests.service.commands.running import OPTIONS, parsed, run
from tests.service.rude import answer, serving

Run = Callable[..., Result]


def test_models_are_listed_and_shown(ask: Run) -> None:
    job = parsed(ask("models", "create", *OPTIONS, "--name", "[bold]x[/bold]", "--json"))
    listed = ask("models", "list")
    assert job["model_id"] in listed.stdout
    assert "[bold]x[/bold]" in listed.stdout
    assert parsed(ask("models", "list", "--limit", "1", "--json"))[0]["id"] == job["model_id"]
    assert parsed(ask("models", "get", job["model_id"], "--json"))["job_id"] == job["id"]
    shown = ask("models", "get", job["model_id"]).stdout
    assert job["result"]["artifacts"][0]["id"] in shown
    assert job["model_id"] in shown
    assert "at most 1.5" in shown
    assert job["id"] in ask("jobs", "list", "--state", "succeeded", "--limit", "300").stdout
    assert "succeeded" in ask("jobs", "get", job["id"]).stdout


def test_what_is_not_there_is_said_to_be_no_model_or_job(ask: Run) -> None:
    for kind in ("model", "job"):
        unknown = ask(f"{kind}s", "get", "nope")
        assert unknown.exit_code == 1
        assert f"there is no such {kind}" in unknown.stderr


def test_a_figure_is_short_and_nothing_where_there_is_none() -> None:
    assert (figure(0.123456), figure(None), figure(0.0)) == ("0.1235", "", "0")


def test_a_figure_that_was_not_measured_is_marked_as_foretold() -> None:
    predicted = Predicted(latency_ms=5.0, memory_mb=2.0, size_mb=0.25, accuracy=0.8)
    scored = Measured(
        latency_ms=None, latency_percentile=50, memory_mb=None, size_mb=0.24, accuracy=0.9, samples=64
    )
    shown = [
        [
            best_known(ModelView.model_construct(measured=measured, predicted=predicted), name)
            for name in FIGURES
        ]
        for measured in (scored, None)
    ]
    assert shown == [["~5", "~2", "0.24", "0.9"], ["~5", "~2", "~0.25", "~0.8"]]


def test_a_list_of_models_says_what_marks_a_figure_that_is_foretold() -> None:
    figures = {"latency_ms": 0.5, "memory_mb": 2.0, "size_mb": 0.25, "accuracy": 0.8}
    measured = {**figures, "latency_percentile": 50, "samples": 64}
    model = {
        **{"id": "mdl_1", "job_id": "job_1", "created_at": "now", "name": None, "scenario": {}},
        **{"scenario_digest": "", "limits_met": True, "predicted": figures, "measured": measured},
        **{"limits_check": [], "artifacts": [], "links": {}},
    }
    pages = [{"models": [{**model, "measured": one}], "next_page_token": None} for one in (measured, None)]
    with serving(*(answer(body=page) for page in pages)) as rude:
        verified, unverified = (run(rude.url, "models", "list").stdout for _ in pages)
    assert "~" not in verified
    assert "~0.5" in unverified
    assert unverified.endswith("~ is foretold, not measured\n")


def test_an_event_is_one_line() -> None:
    event = Event(id="1", kind="phase", job_id="job_1", at="now", phase="a\nb", progress=0.333)
    assert tell_event(event) == "now phase a?b 33%"
