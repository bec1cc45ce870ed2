"""Compare models that are cut out with models that are trained, and check that they keep to their limits.

For every network of the yardstick (``yardstick.py``: class sets that the supernet's training never sampled,
shapes over its whole range) the latency of its shape is measured here and becomes the limit of a scenario with the
same classes. The model is generated, its file tested on test images, and measured again when all are made.
Prints JSON:
``python -m benchmarks.quality --data fashion_mnist.npz [--supernet fashion]``.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from assembler.artifact import Assembly
from assembler.assemble import assemble
from assembler.compile.onnx import build
from assembler.device import Profile
from assembler.errors import Infeasible
from assembler.joint import choose
from assembler.measure import ensure_profile, measure_model
from assembler.propose import Estimator
from assembler.scenario import Scenario
from assembler.subnet import random_subnet
from assembler.utility import PORTFOLIO
from benchmarks.machine import describe_machine
from benchmarks.yardstick import FOLDER
from service.zoo import shipped_zoo
from supernet.checkpoint import Checkpoint, load_checkpoint
from supernet.data import DataSet, load_data
from supernet.gates import Gates
from supernet.sampling import held_out

BUDGETS = (
    0.1,
    0.2,
    0.4,
)  # shares of the dense net's cost at which the gates of different class sets are compared


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", default="fashion")
    options = parser.parse_args()
    torch.set_num_threads(1)
    yardstick = json.loads((FOLDER / f"{options.supernet}.json").read_text())
    rows = generated(
        load_checkpoint(shipped_zoo() / options.supernet), load_data(options.data), yardstick["networks"]
    )
    report = {
        "machine": describe_machine(),
        "supernet": options.supernet,
        "yardstick": yardstick["recipe"],
        "summary": summary(rows),
        "rows": rows,
    }
    print(json.dumps(report, indent=1))


def generated(checkpoint: Checkpoint, data: DataSet, networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Generate a model for every network of the yardstick, and measure them again when all are made."""
    estimator = Estimator(checkpoint.folder, checkpoint.card)
    with tempfile.TemporaryDirectory() as folder:
        *_, profile = ensure_profile(checkpoint.card, Path(folder))
    assert isinstance(profile, Profile)
    rows, contents = [], []
    for network in networks:
        row, content = made(checkpoint, estimator, profile, data, network)
        rows.append(row)
        contents.append(content)
    for row, content in zip(rows, contents, strict=True):
        if row["made"]:
            again = measure_model(
                content, checkpoint.card.architecture.input, threads=profile.threads
            ).latency_ms
            row["measured_again_ms"] = round(again, 4)
            row["within_limit_again"] = again <= row["limit_ms"]
    return rows


def made(
    checkpoint: Checkpoint, estimator: Estimator, profile: Profile, data: DataSet, network: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """Generate the model that stands against one network of the yardstick; return its row and its file."""
    classes, image = network["classes"], checkpoint.card.architecture.input
    names = [data.classes[c] for c in classes]
    twin = random_subnet(checkpoint.card.architecture, tuple(network["counts"]), len(classes))
    limit = measure_model(build(twin, image), image, threads=profile.threads).latency_ms
    row = {
        "classes": classes,
        "held_out": held_out(tuple(classes)),
        "scratch_counts": network["counts"],
        "scratch_accuracy": network["accuracy"],
        "limit_ms": round(limit, 4),
        "gates": {budget: task_gates(names, estimator, profile, budget) for budget in BUDGETS},
    }
    facts = {"task": {"kind": "classification", "classes": names}, "limits": {"latency_ms": limit}}
    began = time.perf_counter()
    try:
        *_, assembly = assemble(
            Scenario.model_validate_json(json.dumps(facts)), checkpoint, estimator, profile
        )
    except Infeasible:
        return {**row, "made": False}, b""
    assert isinstance(assembly, Assembly)
    assert assembly.measured is not None
    took_s = time.perf_counter() - began
    found = {
        "made": True,
        "predicted_ms": round(assembly.predicted.latency_ms, 4),
        "measured_ms": round(assembly.measured.latency_ms, 4),
        "predicted_accuracy": round(assembly.predicted.accuracy, 4),
        "validation_accuracy": round(assembly.measured.accuracy, 4),
        "test_accuracy": round(tested(assembly.content, data, classes), 4),
        "took_s": round(took_s, 3),
        "counts": [len(block) for block in assembly.manifest["supernet"]["modules_on"]],
    }
    return {**row, **found}, assembly.content


def tested(content: bytes, data: DataSet, classes: list[int]) -> float:
    """Return the accuracy of a model file on the test images of its classes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    mine = data.test.of_classes(classes)
    (scores,) = session.run(None, {"image": mine.images.astype(np.float32)})
    return float((scores.argmax(axis=1) == mine.labels).mean())


def task_gates(names: list[str], estimator: Estimator, profile: Profile, budget: float) -> list[list[int]]:
    """Return the modules that the class term at full weight chooses within a budget, among those it may choose."""
    architecture = estimator.card.architecture
    (values,) = estimator.utilities(names, budget, PORTFOLIO[-1:])
    gates = choose(np.concatenate(values), architecture, profile, budget)
    return [
        list(on) if block.task_wise else []
        for on, block in zip(gates.active, architecture.blocks, strict=True)
    ]


def mean_overlap(rows: list[dict[str, Any]], budget: float) -> float:
    """Return the mean Jaccard index of the task's gates over all pairs of class sets."""
    found = [Gates(tuple(tuple(block) for block in row["gates"][budget])) for row in rows]
    return round(statistics.mean(a.overlap(b) for a, b in combinations(found, 2)), 4)


def summary(asked: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over the models that were made, and over those whose yardstick is trained."""
    rows = [row for row in asked if row["made"]]
    compared = [row for row in rows if row["scratch_accuracy"] is not None]
    differences = [row["test_accuracy"] - row["scratch_accuracy"] for row in compared]
    errors = [abs(row["predicted_accuracy"] - row["test_accuracy"]) for row in rows]
    return {
        "asked": len(asked),
        "made": len(rows),
        "within_limit": sum(row["measured_ms"] <= row["limit_ms"] for row in rows),
        "within_limit_again": sum(row["within_limit_again"] for row in rows),
        "test_accuracy": _mean([row["test_accuracy"] for row in rows]),
        "prediction_error": _mean(errors),
        "took_s_p50": round(statistics.median(row["took_s"] for row in rows), 3),
        "took_s_max": max(row["took_s"] for row in rows),
        "mean_overlap_of_gates": {budget: mean_overlap(asked, budget) for budget in BUDGETS},
        "different_gates": {
            budget: len({json.dumps(row["gates"][budget]) for row in asked}) for budget in BUDGETS
        },
        "compared": len(compared),
        "compared_test_accuracy": _mean([row["test_accuracy"] for row in compared]),
        "compared_scratch_accuracy": _mean([row["scratch_accuracy"] for row in compared]),
        "difference": _mean(differences),
        "difference_standard_error": round(statistics.stdev(differences) / len(differences) ** 0.5, 4)
        if len(differences) > 1
        else None,
        "at_least_scratch": sum(difference >= 0 for difference in differences),
    }


def _mean(values: list[float]) -> float | None:
    return round(statistics.mean(values), 4) if values else None


if __name__ == "__main__":
    main()
