"""Commands on models."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from tests.commands import known
from tests.service.commands.running import OPTIONS, parsed, run
from tests.service.making import body
from tests.service.process import House
from tests.service.rude import answer, serving

Run = Callable[..., Result]


def test_a_model_is_made_from_options_and_written_to_a_file(ask: Run, tmp_path: Path) -> None:
    file = tmp_path / "small.onnx"
    made = ask("models", "create", *OPTIONS, "--name", "large", "--label", "site=x=y", "--output", str(file))
    assert made.exit_code == 0, made.output
    assert made.stderr == ""
    for word in ("succeeded", "bag, coat", "latency_ms", "at most 1.5", str(file)):
        assert word in made.stdout
    (job,) = parsed(ask("jobs", "list", "--label", "site=x=y", "--json"))
    assert job["scenario"]["limits"]["latency_ms"] == 1.5
    assert file.stat().st_size == job["result"]["artifacts"][0]["bytes"]


def test_nothing_is_made_that_could_not_be_written(ask: Run, tmp_path: Path) -> None:
    refused = ask("models", "create", *OPTIONS, "--name", "lost", "-o", str(tmp_path / "nowhere" / "x.onnx"))
    assert refused.exit_code == 2
    assert "there is no folder" in refused.stderr
    assert ".part" not in refused.stderr
    assert not [job for job in parsed(ask("jobs", "list", "--json")) if job["scenario"]["name"] == "lost"]


def test_a_reader_that_has_enough_ends_a_command_quietly(served: House) -> None:
    command = f"{sys.executable} -m service.cli models create --help | true; echo ${{PIPESTATUS[0]}}"
    many = f"{sys.executable} -m service.cli supernets list --url {served.client.base_url} | head -c 1"
    for each in (command, many):
        ended = subprocess.run(["bash", "-c", each], capture_output=True, text=True, timeout=60, check=False)
        assert ended.stderr == ""


def test_a_batch_is_submitted_and_waited_for(ask: Run, tmp_path: Path) -> None:
    file = tmp_path / "many.ndjson"
    file.write_text("".join(json.dumps(body(name=f"b{n}")) + "\n" for n in range(3)))
    assert "3 jobs, 1 builds" in ask("models", "batch", str(file)).stdout
    assert ask("models", "batch", str(file), "--wait").stdout.endswith(": 3 succeeded\n")
    array = json.dumps([body(), body(name="crash", limits={"size_mb": 0.77})]).encode()
    made = ask("models", "batch", "-", "--wait", "--json", sent=array)
    assert made.exit_code == 4
    assert [job["state"] for job in json.loads(made.stdout)] == ["succeeded", "failed"]


def test_a_check_says_what_can_be_had() -> None:
    figures = {"latency_ms": 0.5, "memory_mb": 1.0, "size_mb": 0.1, "accuracy": 0.9}
    yes = {"feasible": True, "accuracy_error": 0.01, "predicted": figures}
    no = {
        "feasible": False,
        "accuracy_error": 0.01,
        "binding": ["latency_ms"],
        "best_possible": figures,
        "nearest": [{"change": {"/limits/latency_ms": 0.31}, "predicted": figures}],
    }
    with serving(answer(body=yes), answer(body=no), answer(body=no)) as rude:
        can, cannot, as_json = (
            run(rude.url, "models", "check", *OPTIONS, *more) for more in ((), (), ("--json",))
        )
    assert (can.exit_code, cannot.exit_code, as_json.exit_code) == (0, 4, 4)
    assert "latency_ms 0.5" in can.stdout
    assert "accuracy 0.9 (off by 0.01 on average)" in can.stdout
    assert "best possible: latency_ms 0.5, memory_mb 1, size_mb 0.1, accuracy 0.9" in cannot.stdout
    assert "accuracies are off by 0.01 on average" in cannot.stdout
    assert "/limits/latency_ms = 0.31" in cannot.stdout
    assert json.loads(as_json.stdout)["binding"] == ["latency_ms"]


def test_a_front_is_a_table_json_or_a_picture(tmp_path: Path) -> None:
    front = {"points": [{"predicted": {"latency_ms": 0.5, "accuracy": 0.91}, "name": "a"}], "device": "local"}
    picture = answer(body=b"<svg/>", Content_Type="image/svg+xml")
    with serving(answer(body=front), answer(body=front), picture) as rude:
        shown = run(rude.url, "models", "pareto", "--classes", "bag,coat")
        assert parsed(run(rude.url, "models", "pareto", "--classes", "bag,coat", "--json")) == front
        run(rude.url, "models", "pareto", "--classes", "bag,coat", "--svg", str(tmp_path / "p.svg"))
    assert shown.stdout.split() == ["latency_ms", "accuracy", "name", "0.5", "0.91", "a"]
    assert json.loads(rude.asked[0].body) == {"task": {"kind": "classification", "classes": ["bag", "coat"]}}
    assert (tmp_path / "p.svg").read_bytes() == b"<svg/>"


def test_a_model_is_removed() -> None:
    with serving(answer(204)) as rude:
        assert run(rude.url, "models", "delete", "mdl_1").stdout == "mdl_1 is removed\n"
        assert parsed(run(rude.url, "models", "delete", "mdl_1", "--json")) == {"deleted": "mdl_1"}
    assert rude.paths == ["DELETE /models/mdl_1"] * 2


def test_the_real_program_prints_json_and_nothing_else(served: House, tmp_path: Path) -> None:
    environment = {**os.environ, **known(), "NNF_URL": str(served.client.base_url)}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "models", "create", *OPTIONS, "-o", "m.onnx", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "m.onnx").stat().st_size == json.loads(done.stdout)["result"]["artifacts"][0]["bytes"]
