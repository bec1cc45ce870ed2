"""What a model says of itself can be read by a program."""

import json

import onnx

from assembler.artifact import Measured, Predicted, address
from assembler.compile.onnx import build
from assembler.manifest import manifest_of, metadata_bytes, metadata_of, output_names, toolchain
from assembler.nominal import nominal_profile
from assembler.scenario import Scenario, parse_scenario
from assembler.subnet import random_subnet
from supernet.gates import prefix_gates
from tests.service.making import make_card
from tests.shapes import SMALL

CARD = make_card(classes=("café", "bag", 'say "hi"', "boot"))


def scenario(other: bool = False) -> Scenario:
    task = {"kind": "classification", "classes": ["boot", "café"], "other": other}
    return parse_scenario(json.dumps({"task": task, "limits": {"size_mb": 1.0}}).encode())


def test_strings_inside_the_file_are_json_and_their_size_is_never_told_too_small() -> None:
    strings = metadata_of(scenario(other=True), CARD)
    assert json.loads(strings["classes"]) == ["boot", "café", "other"]
    assert json.loads(strings["input"])["layout"] == "NCHW"
    subnet = random_subnet(SMALL, (1, 1, 1), 3)
    with_strings, without = (len(build(subnet, SMALL.input, known)) for known in (strings, None))
    assert 0 < with_strings - without <= metadata_bytes(scenario(other=True), CARD)


def test_the_manifest_is_plain_json_and_names_what_made_the_model() -> None:
    predicted = Predicted(latency_ms=0.1, memory_mb=2.0, size_mb=0.1, accuracy=0.9)
    measured = Measured(
        latency_ms=0.1, latency_percentile=50, memory_mb=2.0, size_mb=0.1, accuracy=0.9, samples=10
    )
    artifact = address(b"file", format="onnx", precision="fp32")
    figures = (predicted, measured, ())
    manifest = manifest_of(
        scenario(), CARD, nominal_profile(SMALL), prefix_gates((1, 0, 2)), artifact, figures
    )
    again = json.loads(json.dumps(manifest))
    assert again == manifest
    assert again["artifact"]["sha256"] == artifact.sha256
    assert again["supernet"] == {
        "name": CARD.name,
        "digest": CARD.digest,
        "modules_on": [[0], [], [0, 1]],
        "side_px": 16,
    }
    assert again["toolchain"] == toolchain()


def test_other_is_the_last_output() -> None:
    assert output_names(scenario()) == ["boot", "café"]
    assert output_names(scenario(other=True)) == ["boot", "café", "other"]
    assert onnx.__version__ == toolchain()["onnx"]
