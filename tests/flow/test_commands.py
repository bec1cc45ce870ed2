"""The commands that need no server, as a user starts them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from supernet.card import load_card
from tests.photos import classes_in, zip_of
from tests.published import idx, idx_files, put_idx
from tests.small import CLASSES, small_images

LONG_S = 300


COMMAND = [sys.executable, "-m", "service.cli"]


def known(**environment: str) -> dict[str, str]:
    """Return the environment that commands run in."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100", **environment}


def nnfactory(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=known(**environment),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


def write_scenario(path: Path, **changes: object) -> str:
    task = {"kind": "classification", "classes": ["Sneaker", "Bag", "Coat"]}
    path.write_text(json.dumps({"task": task, "limits": {"size_mb": 0.3}, **changes}))
    return str(path)


def test_the_demo_makes_a_model_and_classifies_images(tmp_path: Path, profiled: Path) -> None:
    done = nnfactory("demo", "--data-dir", str(profiled), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for heading in ("Scenario", "Phases", "Limits", "Sample images", "Downloaded to"):
        assert heading in done.stdout
    (file,) = (profiled / "downloads").glob("*.onnx")
    assert onnxruntime.InferenceSession(str(file)).get_outputs()[0].name == "scores"


def test_a_model_is_generated_without_a_server(tmp_path: Path, profiled: Path) -> None:
    asked = write_scenario(tmp_path / "scenario.json")
    done = nnfactory("generate", asked, "--out", "small.onnx", "--data-dir", str(profiled), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "small.onnx.manifest.json").read_text())
    assert manifest["artifact"]["bytes"] == (tmp_path / "small.onnx").stat().st_size <= 300_000
    assert manifest["classes"] == ["Sneaker", "Bag", "Coat"]


def test_a_scenario_out_of_reach_says_so_and_leaves_no_file(tmp_path: Path, profiled: Path) -> None:
    asked = write_scenario(tmp_path / "scenario.json", limits={"latency_ms": 1e-4})
    done = nnfactory("generate", asked, "--data-dir", str(profiled), cwd=tmp_path)
    assert done.returncode == 1
    assert "latency_ms" in done.stdout
    assert not (tmp_path / "model.onnx").exists()


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


def write_stripes(folder: Path) -> None:
    """Write a small data set of stripes into a folder."""
    members: dict[str, object] = {"classes": np.array(CLASSES)}
    for number, (split, per_class) in enumerate((("train", 40), ("val", 20), ("test", 10))):
        images = small_images(per_class, number)
        members |= {f"x_{split}": images.images[:, 0], f"y_{split}": images.labels}
    np.savez(folder / "stripes.npz", **members)  # type: ignore[arg-type]


def train_stripes(folder: Path, *more: str) -> None:
    """Train a small supernet on stripes that are kept in the folder."""
    write_stripes(folder)
    arguments = ["--data", "stripes.npz", "--out", "zoo/stripes", "--epochs", "12", "--batch", "24"]
    done = nnfactory("train", *arguments, "--pairs", "20", "--processes", "1", *more, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_that_the_disk_has_no_room_for_says_so_and_goes_on_when_it_has(tmp_path: Path) -> None:
    train = ["train", "--data", "stripes.npz", "--out", "zoo/stripes", "--epochs", "2", "--batch", "24"]
    write_stripes(tmp_path)
    limited = shlex.join([*COMMAND, *train, "--pairs", "20", "--processes", "1"])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; exec {limited}"],
        cwd=tmp_path,
        env=known(),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(r"nnfactory: \S+run\.pt cannot be written: File too large\n", done.stderr), (
        done.stderr
    )
    assert not (tmp_path / "zoo").exists()
    assert not list(tmp_path.rglob("*.partial"))
    train_stripes(tmp_path)


def generate_from_stripes(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    task = {"kind": "classification", "classes": ["fox", "ant"]}
    asked = write_scenario(folder / "scenario.json", task=task, limits={"size_mb": 0.5})
    zoo = str(folder / "zoo")
    return nnfactory("generate", asked, "--data-dir", "data", cwd=folder, NNF_SUPERNETS=zoo, **environment)


def accuracy_on_stripes(model: Path) -> float:
    test = small_images(10, 2).of_classes([5, 0])
    (scores,) = onnxruntime.InferenceSession(str(model)).run(None, {"image": test.images.astype(np.float32)})
    return float((scores.argmax(axis=1) == test.labels).mean())


def test_a_supernet_of_ones_own_is_trained_and_used(tmp_path: Path) -> None:
    train_stripes(tmp_path)
    card = json.loads((tmp_path / "zoo" / "stripes" / "card.json").read_text())
    assert card["name"] == "stripes"
    assert card["training"]["command"].startswith("nnfactory train --data stripes.npz")
    done = generate_from_stripes(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert accuracy_on_stripes(tmp_path / "model.onnx") > 0.8


def look_at_stripes(folder: Path, *more: str, **environment: str) -> str:
    """Return the page that the command writes."""
    (folder / "zoo" / "stripes" / "look.html").unlink()
    done = nnfactory("look", "zoo/stripes", *more, cwd=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "zoo/stripes/look.html"
    return (folder / "zoo" / "stripes" / "look.html").read_text()


def test_a_supernet_is_looked_at(tmp_path: Path) -> None:
    train_stripes(tmp_path)
    card = (tmp_path / "zoo" / "stripes" / "card.json").read_bytes()
    assert "on 60 test images" in (tmp_path / "zoo" / "stripes" / "look.html").read_text()
    assert "on 60 test images" in look_at_stripes(tmp_path, "--data", "stripes.npz")
    assert "on 120 validation images of the checkpoint" in look_at_stripes(tmp_path)
    assert (tmp_path / "zoo" / "stripes" / "card.json").read_bytes() == card
    with np.load(tmp_path / "stripes.npz") as members:
        np.savez(tmp_path / "other.npz", **{**members, "classes": np.array(CLASSES[::-1])})
    refused = nnfactory("look", "zoo/stripes", "--data", "other.npz", cwd=tmp_path)
    assert refused.returncode == 2
    assert "other classes or images" in refused.stderr


def test_a_supernet_without_images_takes_them_from_the_data_set_at_hand(tmp_path: Path) -> None:
    train_stripes(tmp_path, "--no-store-images", "--sides", "12")
    files = {path.name for path in (tmp_path / "zoo" / "stripes").iterdir()}
    assert "images.json" in files
    assert "images.npz" not in files
    assert "<img" not in (tmp_path / "zoo" / "stripes" / "look.html").read_text()
    assert "<img" not in look_at_stripes(tmp_path, NNF_DATASETS=str(tmp_path))
    refused = generate_from_stripes(tmp_path)
    assert refused.returncode == 2
    assert "takes its images from stripes.npz" in refused.stderr
    done = generate_from_stripes(tmp_path, NNF_DATASETS=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert accuracy_on_stripes(tmp_path / "model.onnx") > 0.8
    manifest = json.loads((tmp_path / "model.onnx.manifest.json").read_text())
    assert manifest["supernet"]["side_px"] in (12, 16)


def test_a_zip_of_photographs_is_reported_on_and_trained_on(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=12, dog=12)
    (tmp_path / "pets" / "cat" / "text.jpg").write_text("a text")
    file = zip_of(tmp_path / "pets", tmp_path / "pets.zip")
    arguments = ["--data", file.name, "--out", "zoo/pets", "--processes", "1"]
    refused = nnfactory("train", *arguments, "--no-store-images", cwd=tmp_path)
    assert refused.returncode == 2
    assert "cannot be named" in refused.stderr
    done = nnfactory("train", *arguments, "--epochs", "2", "--batch", "8", "--pairs", "20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 classes, 24 usable images: train 16, val 4, test 4\n" in done.stdout
    assert "  cat/text.jpg (no image of a known format)\n" in done.stdout
    assert load_card(tmp_path / "zoo" / "pets").classes == ("cat", "dog")


def test_a_published_data_set_is_looked_for_among_the_data_sets_at_hand(tmp_path: Path) -> None:
    few = {"train": 20, "t10k": 20}
    put_idx(
        tmp_path / "sets",
        "MNIST",
        idx_files(few) | {"train-labels-idx1-ubyte": idx(np.full(20, 10, np.uint8))},
    )
    arguments = ["train", "--data", "torchvision:MNIST", "--out", "zoo/digits"]
    for more, told in (([], "has label 10, but 10 classes"), (["--no-store-images"], "cannot be named")):
        refused = nnfactory(*arguments, *more, cwd=tmp_path, NNF_DATASETS=str(tmp_path / "sets"))
        assert refused.returncode == 2
        assert told in refused.stderr


def test_a_run_of_some_minutes_is_stopped_and_goes_on_as_it_was_planned(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=30, dog=30)
    command = ["train", "--data", "pets", "--out", "zoo/pets", "--processes", "1", "--minutes"]
    assert "epochs of 44 images of 32 px, 32 a step" in stopped_after_a_step(tmp_path, *command, "3")
    plan = (tmp_path / "runs" / "pets" / "effort.json").read_bytes()
    assert "continuing the run" in stopped_after_a_step(tmp_path, *command, "3")
    assert (tmp_path / "runs" / "pets" / "effort.json").read_bytes() == plan
    refused = nnfactory(*command, "4", cwd=tmp_path)
    assert refused.returncode == 2
    assert "planned for 3 minutes" in refused.stderr
    refused = nnfactory(*command, "3", "--epochs", "5", cwd=tmp_path)
    assert refused.returncode == 2
    assert "picks epochs" in refused.stderr


def stopped_after_a_step(folder: Path, *arguments: str) -> str:
    """Start training, interrupt it a little later, and return what it said."""
    state = folder / "runs" / "pets" / "run.pt"
    before = state.stat().st_mtime_ns if state.exists() else 0
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=known(), stdout=subprocess.PIPE, text=True
    ) as running:
        said = []
        for line in running.stdout or ():
            said.append(line)
            if "minutes:" in line:
                time.sleep(2.0)
                running.send_signal(signal.SIGINT)
    assert running.returncode == 130, said
    assert state.stat().st_mtime_ns > before
    return "".join(said)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "missing.npz"], "does not exist"),
        (["--data", "."], "no image lies at such a place"),
        (["--data", "torchvision:FashonMNIST"], "did you mean torchvision:FashionMNIST?"),
    ],
)
def test_data_that_cannot_be_used_is_one_sentence(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = nnfactory("train", *arguments, "--out", "zoo/none", cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "zoo").exists()
