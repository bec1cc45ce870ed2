"""How long a device profile takes and how well it foretells nets it has never seen.

    python -m benchmarks.profile [--supernet DIR] [--nets N]

A net's error is (measured - predicted) / predicted. ``within_margin`` is the share of nets that a limit set to the
prediction and its margin would have let through rightly; ``repeat`` how far two measurements of one file differ.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assembler.compile.onnx import build
from assembler.cost import cost_of
from assembler.device import Profile
from assembler.measure import ModelMeasurement, measure_device, measure_model
from assembler.plan import random_counts
from assembler.subnet import random_subnet
from benchmarks.machine import describe_machine
from supernet.card import Card, load_card

SHIPPED = Path(__file__).parent.parent / "supernet" / "zoo" / "fashion"
SEED = 1234


def main() -> None:
    """Measure, and print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--supernet", type=Path, default=SHIPPED, help="folder of a checkpoint")
    arguments.add_argument("--nets", type=int, default=30, help="fresh nets to foretell")
    given = arguments.parse_args()
    card = load_card(given.supernet)
    *_, profile = measure_device(card)
    assert isinstance(profile, Profile)
    json.dump({"machine": describe_machine(), **judge(card, profile, given.nets)}, sys.stdout, indent=1)
    print()


def judge(card: Card, profile: Profile, nets: int) -> dict[str, Any]:
    """Return how a profile's predictions compare with measurements of fresh random nets."""
    draw = np.random.default_rng(SEED)
    counts = [random_counts(card.architecture, draw) for _ in range(nets)]
    files = [
        build(
            random_subnet(card.architecture, net, len(card.classes), seed=SEED + i), card.architecture.input
        )
        for i, net in enumerate(counts)
    ]
    # Twice through the whole list, so that the two measurements of a file are some seconds apart.
    first, second = ([_measure(file, card, profile) for file in files] for _ in range(2))
    costs = [cost_of(card.architecture, net, len(card.classes), profile, metadata_bytes=0) for net in counts]
    latency = _compare([m.latency_ms for m in first], [c.latency_ms for c in costs], profile.latency.margin)
    memory = _compare([m.memory_mb for m in first], [c.memory_mb for c in costs], profile.memory.margin)
    latency["repeat"] = _repeat([m.latency_ms for m in first], [m.latency_ms for m in second])
    memory["repeat"] = _repeat([m.memory_mb for m in first], [m.memory_mb for m in second])
    return {
        "supernet": card.name,
        "threads": profile.threads,
        "profile_s": round(profile.quality.duration_s, 2),
        "fresh_nets": nets,
        "latency": latency,
        "memory": memory,
        "quality_told": profile.quality.model_dump(),
    }


def _measure(file: bytes, card: Card, profile: Profile) -> ModelMeasurement:
    return measure_model(file, card.architecture.input, threads=profile.threads)


def _compare(measured: list[float], predicted: list[float], margin: float) -> dict[str, Any]:
    errors = np.array(measured) / np.array(predicted) - 1
    return {
        "range": [round(min(measured), 4), round(max(measured), 4)],
        "mape": _rounded(np.abs(errors).mean()),
        "within_tenth": _rounded((np.abs(errors) <= 0.1).mean()),
        "worst": _rounded(np.abs(errors).max()),
        "bias": _rounded(errors.mean()),
        "margin": _rounded(margin),
        "within_margin": _rounded((errors <= margin).mean()),
    }


def _repeat(first: list[float], second: list[float]) -> dict[str, float]:
    difference = np.abs(np.array(second) / np.array(first) - 1)
    return {"median": _rounded(np.median(difference)), "p95": _rounded(np.percentile(difference, 95))}


def _rounded(value: float | npt.NDArray[np.float64]) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
