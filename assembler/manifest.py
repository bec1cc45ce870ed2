"""What a model says of itself: inside the file, and beside it."""

import json
from importlib.metadata import version
from typing import Any

from assembler.artifact import Artifact, LimitCheck, Measured, Predicted
from assembler.compile.onnx import INPUT_NAME, OUTPUT_NAME
from assembler.device import Profile
from assembler.scenario import Scenario
from supernet.card import Card
from supernet.gates import Gates

OTHER = "other"
LAYOUT = "NCHW"
RESIZE = "bilinear, to exactly height x width, aspect ratio not kept"
RANGE = "0..255"


def toolchain() -> dict[str, str]:
    """Return the versions of what searches and writes a model file; equal scenarios share a build under equal ones."""
    return {name: version(name) for name in ("nn-factory", "numpy", "onnx", "onnxruntime")}


def output_names(scenario: Scenario) -> list[str]:
    """Return the names of the outputs, in order."""
    return [*scenario.task.classes, *([OTHER] if scenario.task.other else [])]


def input_description(card: Card) -> dict[str, Any]:
    """Return how to feed a model: raw pixels, the rest is in the graph."""
    image = card.architecture.input
    return {
        "name": INPUT_NAME,
        "shape": ["N", image.channels, image.height, image.width],
        "dtype": "float32",
        "layout": LAYOUT,
        "color": image.color,
        "range": RANGE,
        "mean": list(image.mean),
        "std": list(image.std),
        "normalisation": "in the graph",
        "resize": RESIZE,
    }


def metadata_of(scenario: Scenario, card: Card) -> dict[str, str]:
    """Return the strings stored inside a model file; lists and objects are JSON."""
    return {
        "task": scenario.task.kind.value,
        "classes": json.dumps(output_names(scenario), ensure_ascii=False),
        "input": json.dumps(input_description(card)),
        "output": json.dumps(
            {"name": OUTPUT_NAME, "meaning": "softmax probabilities, in the order of classes"}
        ),
        "supernet": json.dumps({"name": card.name, "digest": card.digest}),
    }


def metadata_bytes(scenario: Scenario, card: Card) -> int:
    """Return what the strings inside a model file take, in bytes, never too few."""
    return sum(
        len(key.encode()) + len(value.encode()) + 12 for key, value in metadata_of(scenario, card).items()
    )


def manifest_of(
    scenario: Scenario,
    card: Card,
    profile: Profile,
    gates: Gates,
    artifact: Artifact,
    figures: tuple[Predicted, Measured | None, tuple[LimitCheck, ...]],
) -> dict[str, Any]:
    """Return the manifest that is kept beside a model file."""
    predicted, measured, checks = figures
    return {
        "artifact": artifact.model_dump(mode="json"),
        "task": scenario.task.kind.value,
        "classes": output_names(scenario),
        "input": input_description(card),
        "output": {"name": OUTPUT_NAME, "shape": ["N", len(output_names(scenario))], "dtype": "float32"},
        "device": {"name": profile.device, "profile": profile.digest},
        "supernet": {
            "name": card.name,
            "digest": card.digest,
            "modules_on": [list(block) for block in gates.active],
            "side_px": gates.side or card.architecture.input.height,
        },
        "limits": scenario.limits.model_dump(mode="json"),
        "predicted": predicted.model_dump(mode="json"),
        "measured": None if measured is None else measured.model_dump(mode="json"),
        "limits_check": [check.model_dump(mode="json") for check in checks],
        "toolchain": toolchain(),
    }
