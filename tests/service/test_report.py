"""What is printed of a scenario is what the contract's JSON says."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from service.report import print_diagnosis, print_limits, print_phases, print_scenario
from tests.service.making import BODY

PREDICTED = {"latency_ms": 0.5, "memory_mb": 2.0, "size_mb": 0.25, "accuracy": 0.875}
MEASURED = {**PREDICTED, "latency_ms": 0.625, "latency_percentile": 90, "samples": 64}


def check(limit: str, requested: float, *, met: bool) -> dict[str, Any]:
    return {"limit": limit, "requested": requested, "value": 0.0, "basis": "measured", "met": met}


def printed(printing: Callable[..., None], *values: object) -> str:
    file = io.StringIO()
    printing(Console(file=file, width=200), *values)
    return file.getvalue()


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of the table in a text: first cell -> the others."""
    lines = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in lines}


def test_a_scenario_is_printed_as_its_json() -> None:
    heading, _, scenario = printed(print_scenario, BODY).partition("\n")
    assert heading == "Scenario"
    assert json.loads(scenario) == BODY


def test_every_phase_has_its_time_and_they_are_added_up() -> None:
    phases = iter([("assembling", 120.25), ("compiling", 30.5)])
    assert rows(printed(print_phases, phases)) == {
        "assembling": ["120.2"],
        "compiling": ["30.5"],
        "together": ["150.8"],
    }


def test_what_is_asked_for_foretold_and_measured_stands_side_by_side() -> None:
    checks = [check("latency_ms", 0.6, met=False), check("accuracy_min", 0.8, met=True)]
    text = printed(print_limits, checks, PREDICTED, MEASURED)
    assert rows(text) == {
        "latency_ms": ["at most 0.6", "0.5", "0.625", "NO"],
        "memory_mb": ["", "2", "2", ""],
        "size_mb": ["", "0.25", "0.25", ""],
        "accuracy": ["at least 0.8", "0.875", "0.875", "yes"],
    }
    assert "the 90th percentile" in text
    assert "on 64 validation images" in text


def test_what_was_not_measured_is_not_said_to_be() -> None:
    text = printed(print_limits, [check("size_mb", 0.3, met=True)], PREDICTED, None)
    assert {name: cells[2] for name, cells in rows(text).items()} == dict.fromkeys(PREDICTED, "")
    assert rows(text)["size_mb"] == ["at most 0.3", "0.25", "", "yes"]
    assert "Not verified" in text
    assert "percentile" not in text


def test_what_is_foretold_for_a_device_elsewhere_is_not_said_to_be_measured() -> None:
    scored = {**MEASURED, "latency_ms": None, "memory_mb": None}
    text = printed(print_limits, [check("latency_ms", 0.6, met=True)], PREDICTED, scored)
    assert {name: cells[2] for name, cells in rows(text).items()} == {
        "latency_ms": "",
        "memory_mb": "",
        "size_mb": "0.25",
        "accuracy": "0.875",
    }
    assert "foretold by the device's profile" in text
    assert "on 64 validation images" in text
    assert "percentile" not in text


@pytest.mark.parametrize("binding", [["latency_ms"], ["latency_ms", "accuracy_min"]])
def test_a_diagnosis_names_what_binds_and_every_change_that_helps(binding: list[str]) -> None:
    changes = [{"/limits/latency_ms": 0.75}, {"/limits/accuracy_min": 0.5, "/limits/size_mb": 1.5}]
    nearest = [{"change": change, "predicted": PREDICTED} for change in changes]
    diagnosis = {"feasible": False, "binding": binding, "best_possible": PREDICTED, "nearest": nearest}
    first, *others = printed(print_diagnosis, diagnosis).splitlines()
    assert first.endswith(f"what binds: {', '.join(binding)}")
    figures = "latency_ms 0.5, memory_mb 2, size_mb 0.25, accuracy 0.875"
    assert others == [
        f"  best possible: {figures}",
        f"  with /limits/latency_ms = 0.75: {figures}",
        f"  with /limits/accuracy_min = 0.5, /limits/size_mb = 1.5: {figures}",
    ]


def test_a_diagnosis_says_how_far_accuracies_are_off_where_that_is_known() -> None:
    diagnosis = {
        "binding": ["latency_ms"],
        "best_possible": PREDICTED,
        "nearest": [],
        "accuracy_error": 0.0112,
    }
    assert printed(print_diagnosis, diagnosis).endswith("accuracies are off by 0.011 on average\n")
