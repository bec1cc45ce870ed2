"""Scenarios out of files and options."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from service.commands.asking import read_scenario
from tests.service.commands.running import parsed
from tests.service.making import body

Run = Callable[..., Result]


def test_a_scenario_comes_from_a_file_or_standard_input_and_options_change_it(
    ask: Run, tmp_path: Path
) -> None:
    file = tmp_path / "scenario.json"
    file.write_text(json.dumps(body(name="from a file")))
    jobs = [
        parsed(ask("models", "create", str(file), "--json")),
        parsed(ask("models", "create", "-", "--json", sent=file.read_bytes())),
        parsed(ask("models", "create", str(file), "--json", "--name", "other", "--memory-mb", "16")),
    ]
    assert [job["scenario"]["name"] for job in jobs] == ["from a file", "from a file", "other"]
    assert jobs[2]["scenario"]["limits"] == {**jobs[0]["scenario"]["limits"], "memory_mb": 16}
    assert jobs[2]["scenario"]["task"] == jobs[0]["scenario"]["task"]


def test_what_stands_twice_in_a_file_is_refused_by_the_service(ask: Run) -> None:
    refused = ask("models", "create", "-", sent=b'{"task": 1, "task": 2}')
    assert refused.exit_code == 1
    assert refused.stderr.startswith("nnfactory: malformed-json")


def test_what_options_do_not_say_is_left_to_the_service() -> None:
    assert read_scenario(classes=["a, b", "c"], size_mb=1.0, label=["k=v=w", "e="]) == {
        "task": {"kind": "classification", "classes": ["a", "b", "c"]},
        "limits": {"size_mb": 1.0},
        "labels": {"k": "v=w", "e": ""},
    }


def test_verification_and_refinement_are_options() -> None:
    assert read_scenario(size_mb=1.0, verify=False, refine_s=2.0) == {
        "limits": {"size_mb": 1.0},
        "verify": False,
        "refine": {"seconds": 2.0},
    }


def test_a_file_that_no_option_changes_is_passed_on_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_bytes(b'{"a": 1,\n "a": 2}\xff')
    assert read_scenario(str(file)) == file.read_bytes()


@pytest.mark.parametrize("raw", [b"[]", b"{", b"\xff"])
def test_what_is_no_scenario_cannot_be_changed_by_options(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "s.json"
    file.write_bytes(raw)
    with pytest.raises(typer.BadParameter, match="no JSON"):
        read_scenario(str(file), name="x")
