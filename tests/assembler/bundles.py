"""Assemblies of random networks, whose bundles are whole; without torch."""

import json
from typing import Any

from assembler.artifact import Assembly, Basis, LimitCheck, Measured, Predicted, address
from assembler.compile.onnx import build
from assembler.manifest import manifest_of, metadata_of
from assembler.nominal import nominal_profile
from assembler.scenario import parse_scenario
from assembler.subnet import random_subnet
from supernet.card import Card
from supernet.gates import prefix_gates
from tests.service.making import make_card
from tests.shapes import SMALL

COLOUR = SMALL.model_copy(
    update={
        "input": SMALL.input.model_copy(
            update={"channels": 3, "color": "rgb", "mean": (20.0,) * 3, "std": (100.0,) * 3}
        )
    }
)
CARD = make_card(classes=("café", "bag", 'say "hi"', "boot"))
COLOUR_CARD = CARD.model_copy(update={"architecture": COLOUR})
CHECKS = (
    LimitCheck(limit="latency_ms", requested=1.5, value=0.11, basis=Basis.MEASURED, met=True),
    LimitCheck(limit="accuracy_min", requested=0.9, value=0.875, basis=Basis.MEASURED, met=False),
)
FIGURES: dict[str, Any] = {"memory_mb": 2.0, "size_mb": 0.1}


def assembled(
    card: Card = CARD,
    classes: tuple[str, ...] = ("boot", "café"),
    *,
    other: bool = False,
    verified: bool = True,
) -> Assembly:
    """Return the assembly of a random network."""
    task = {"kind": "classification", "classes": classes, "other": other}
    scenario = parse_scenario(json.dumps({"task": task, "limits": {"latency_ms": 1.5}}).encode())
    subnet = random_subnet(card.architecture, (1, 1, 1), len(classes) + other)
    content = build(subnet, card.architecture.input, metadata_of(scenario, card))
    artifact = address(content, format="onnx", precision="fp32")
    predicted = Predicted(latency_ms=0.1, accuracy=0.88, **FIGURES)
    measured = Measured(latency_ms=0.11, latency_percentile=50, accuracy=0.875, samples=64, **FIGURES)
    figures = (predicted, measured if verified else None, CHECKS)
    profile = nominal_profile(card.architecture)
    manifest = manifest_of(scenario, card, profile, prefix_gates((1, 1, 1)), artifact, figures)
    return Assembly(content, artifact, manifest, *figures)
