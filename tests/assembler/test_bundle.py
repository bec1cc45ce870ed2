"""A bundle holds a model and what is needed to use it, and is the same whenever and wherever it is made."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from assembler.artifact import Assembly
from assembler.bundle import bundled, golden_input, zipped
from supernet.card import Card
from tests.assembler.bundles import CARD, COLOUR_CARD, assembled

ROOT = Path(__file__).parents[2]
# Of the patterns for 3 x 16 x 16: they are the same on every machine.
GOLDEN = "b4e657ee7df41630538421fcc6d77c80b5b8f06cc0707900a74307ff32db77e3"
NAMES = [
    "MODEL_CARD.md",
    "golden_input.npy",
    "golden_output.npy",
    "infer.py",
    "labels.txt",
    "manifest.json",
    "model.onnx",
]


def content_of(assembly: Assembly, card: Card = CARD) -> bytes:
    bundle = bundled(assembly, card).bundle
    assert bundle is not None
    return bundle.content


@pytest.mark.parametrize("card", [CARD, COLOUR_CARD], ids=["gray", "rgb"])
def test_a_bundle_holds_the_model_and_what_is_needed_to_use_it(card: Card) -> None:
    assembly = assembled(card, other=True)
    with zipfile.ZipFile(io.BytesIO(content_of(assembly, card))) as archive:
        assert archive.namelist() == NAMES
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in NAMES}
    assert files["model.onnx"] == assembly.content
    assert json.loads(files["manifest.json"]) == assembly.manifest
    assert files["labels.txt"].decode() == "boot\ncafé\nother\n"
    assert files["infer.py"] == (ROOT / "assembler" / "runtime" / "infer.py").read_bytes()
    assert files["MODEL_CARD.md"].startswith(b"# Image classifier")
    given, golden = (np.load(io.BytesIO(files[f"golden_{name}.npy"])) for name in ("input", "output"))
    assert given.dtype == np.uint8
    assert given.shape[1:] == (card.architecture.input.channels, 16, 16)
    (answer,) = onnxruntime.InferenceSession(files["model.onnx"]).run(None, {"image": given.astype("f4")})
    np.testing.assert_allclose(answer, golden, atol=1e-5)


def test_the_artifact_and_the_manifest_of_a_bundle_tell_of_the_zip_and_of_each_file() -> None:
    assembly = bundled(assembled(), CARD)
    bundle = assembly.bundle
    assert bundle is not None
    artifact = bundle.artifact
    assert (artifact.kind, artifact.format, artifact.precision) == ("bundle", "zip", "fp32")
    assert artifact.sha256 == hashlib.sha256(bundle.content).hexdigest()
    assert artifact.bytes == len(bundle.content)
    assert bundle.manifest["artifact"] == artifact.model_dump(mode="json")
    assert bundle.manifest["classes"] == assembly.manifest["classes"]
    assert json.loads(json.dumps(bundle.manifest)) == bundle.manifest
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        for told in bundle.manifest["files"]:
            content = archive.read(told["name"])
            assert (told["bytes"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert [kind.kind for _, kind, _ in assembly.files] == ["model", "bundle"]
    assert [kind.kind for _, kind, _ in replace(assembly, bundle=None).files] == ["model"]


def test_equal_assemblies_have_equal_bundles_in_every_process() -> None:
    assert content_of(assembled()) == content_of(assembled())
    assert content_of(assembled()) != content_of(assembled(classes=("café", "boot")))
    probe = (
        "import hashlib\n"
        "from assembler.bundle import bundled\n"
        "from tests.assembler.bundles import CARD, assembled\n"
        "print(hashlib.sha256(bundled(assembled(), CARD).bundle.content).hexdigest())\n"
    )
    environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == hashlib.sha256(content_of(assembled())).hexdigest()


def test_a_zip_says_nothing_of_when_it_was_made_and_what_may_be_run() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped({"b.py": b"1", "a.txt": b"22"}))) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == ["b.py", "a.txt"]
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert [entry.external_attr >> 16 & 0o777 for entry in entries] == [0o755, 0o644]


def test_golden_images_use_the_whole_range_and_differ() -> None:
    found = golden_input(COLOUR_CARD.architecture.input)
    first, second = found
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])
    assert all(len(np.unique(image)) > 60 for image in found)
    assert hashlib.sha256(found.tobytes()).hexdigest() == GOLDEN


def test_bundles_are_made_without_torch() -> None:
    probe = "import sys, assembler.bundle; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, timeout=60).returncode == 0
