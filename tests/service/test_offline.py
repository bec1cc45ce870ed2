"""The commands that need no server."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.commands import look_at_stripes, nnfactory
from tests.small import CLASSES


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"task": 1}', "/task"),
        ("{", "JSON"),
        (None, "cannot read"),
        ('{"limits": {"size_mb": NaN}}', "JSON"),
    ],
)
def test_a_faulty_scenario_file_is_one_sentence(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "scenario.json").write_text(content)
    done = nnfactory("generate", "scenario.json", "--data-dir", str(tmp_path / "data"), cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_supernet_is_looked_at(stripes: Path) -> None:
    card = (stripes / "zoo" / "stripes" / "card.json").read_bytes()
    assert "on 60 test images" in (stripes / "zoo" / "stripes" / "look.html").read_text()
    assert "on 60 test images" in look_at_stripes(stripes, "--data", "stripes.npz")
    assert "on 120 validation images of the checkpoint" in look_at_stripes(stripes)
    assert (stripes / "zoo" / "stripes" / "card.json").read_bytes() == card
    with np.load(stripes / "stripes.npz") as members:
        np.savez(stripes / "other.npz", **{**members, "classes": np.array(CLASSES[::-1])})
    refused = nnfactory("look", "zoo/stripes", "--data", "other.npz", cwd=stripes)
    assert refused.returncode == 2
    assert "other classes or images" in refused.stderr


def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    wanted = {"task": {"kind": "classification", "classes": ["Bag", "Coat"]}, "limits": {"size_mb": 1}}
    (tmp_path / "scenario.json").write_text(json.dumps(wanted))
    ended = nnfactory(
        "generate", "scenario.json", "--data-dir", "file/data", cwd=tmp_path, NNF_TORCH_DEVICE="cpu"
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("nnfactory: device profiles cannot be kept in ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("out", ["scenario.json", "folder"])
def test_a_model_is_not_written_over_its_scenario_or_a_folder(tmp_path: Path, out: str) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text("{}")
    (tmp_path / "folder").mkdir()
    arguments = ["generate", str(scenario), "--out", str(tmp_path / out)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2, result.output
    assert "must name a file, and not the scenario" in result.stderr
    assert scenario.read_text() == "{}"


def test_a_machine_is_not_measured_when_its_profile_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = CliRunner().invoke(app, ["measure", "--data-dir", str(tmp_path / "file" / "data")])
    assert result.exit_code == 2
    assert result.stderr.startswith("nnfactory: device profiles cannot be kept in ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(("named", "told"), [("", "there is no card.json in"), ("not", "there is no folder")])
def test_what_is_no_checkpoint_is_not_looked_at(tmp_path: Path, named: str, told: str) -> None:
    result = CliRunner().invoke(app, ["look", str(tmp_path / named)])
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert "damaged" not in result.stderr
    assert not list(tmp_path.iterdir())
