"""Commands one after the other, as a user starts them: what one makes, another uses."""

import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime

from tests.commands import look_at_stripes, nnfactory, train_stripes, write_scenario
from tests.small import small_images


def test_the_demo_makes_a_model_and_classifies_images(tmp_path: Path, profiled: Path) -> None:
    done = nnfactory("demo", "--data-dir", str(profiled), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for heading in ("Scenario", "Phases", "Limits", "Sample images", "Downloaded to"):
        assert heading in done.stdout
    (file,) = (profiled / "downloads").glob("*.onnx")
    assert onnxruntime.InferenceSession(str(file)).get_outputs()[0].name == "scores"


def test_a_model_is_generated_without_a_server(tmp_path: Path, profiled: Path) -> None:
    asked = write_scenario(tmp_path / "scenario.json")
    out = ["--out", "small.onnx", "--bundle", "small.zip"]
    done = nnfactory("generate", asked, *out, "--data-dir", str(profiled), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "small.onnx.manifest.json").read_text())
    assert manifest["artifact"]["bytes"] == (tmp_path / "small.onnx").stat().st_size <= 300_000
    assert manifest["classes"] == ["Sneaker", "Bag", "Coat"]
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        assert archive.read("model.onnx") == (tmp_path / "small.onnx").read_bytes()


def test_a_scenario_out_of_reach_says_so_and_leaves_no_file(tmp_path: Path, profiled: Path) -> None:
    asked = write_scenario(tmp_path / "scenario.json", limits={"latency_ms": 1e-4})
    done = nnfactory("generate", asked, "--data-dir", str(profiled), cwd=tmp_path)
    assert done.returncode == 1
    assert "latency_ms" in done.stdout
    assert not (tmp_path / "model.onnx").exists()


def generate_from_stripes(
    folder: Path, data_dir: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    task = {"kind": "classification", "classes": ["fox", "ant"]}
    asked = write_scenario(folder / "scenario.json", task=task, limits={"size_mb": 0.5})
    zoo = str(folder / "zoo")
    return nnfactory(
        "generate", asked, "--data-dir", str(data_dir), cwd=folder, NNF_SUPERNETS=zoo, **environment
    )


def accuracy_on_stripes(model: Path) -> float:
    test = small_images(10, 2).of_classes([5, 0])
    (scores,) = onnxruntime.InferenceSession(str(model)).run(None, {"image": test.images.astype(np.float32)})
    return float((scores.argmax(axis=1) == test.labels).mean())


def test_a_supernet_of_ones_own_is_trained_and_used(stripes: Path, profiled: Path) -> None:
    card = json.loads((stripes / "zoo" / "stripes" / "card.json").read_text())
    assert card["name"] == "stripes"
    assert card["training"]["command"].startswith("nnfactory train --data stripes.npz")
    done = generate_from_stripes(stripes, profiled)
    assert done.returncode == 0, done.stdout + done.stderr
    assert accuracy_on_stripes(stripes / "model.onnx") > 0.8


def test_a_supernet_without_images_takes_them_from_the_data_set_at_hand(
    tmp_path: Path, profiled: Path
) -> None:
    train_stripes(tmp_path, "--no-store-images", "--sides", "12", "--without", "saliency")
    files = {path.name for path in (tmp_path / "zoo" / "stripes").iterdir()}
    card = json.loads((tmp_path / "zoo" / "stripes" / "card.json").read_text())
    (raised_at,) = card["raises"]
    assert 0 <= raised_at <= sum(block["modules"] for block in card["architecture"]["blocks"])
    assert "images.json" in files
    assert "images.npz" not in files
    assert "<img" not in (tmp_path / "zoo" / "stripes" / "look.html").read_text()
    assert "<img" not in look_at_stripes(tmp_path, NNF_DATASETS=str(tmp_path))
    refused = generate_from_stripes(tmp_path, profiled)
    assert refused.returncode == 2
    assert "takes its images from stripes.npz" in refused.stderr
    done = generate_from_stripes(tmp_path, profiled, NNF_DATASETS=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert accuracy_on_stripes(tmp_path / "model.onnx") > 0.8
    manifest = json.loads((tmp_path / "model.onnx.manifest.json").read_text())
    assert manifest["supernet"]["side_px"] in (12, 16)
