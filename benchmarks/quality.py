"""Compare models that are cut out with models that are trained, and check that they keep to their limits.

Draws random class sets that training never sampled, gives each a latency limit out of the supernet's whole range,
generates the model, tests the file on test images, measures it again, and trains a network of the same shape from
scratch on the same classes. Prints JSON:
``python -m benchmarks.quality --data fashion_mnist.npz [--sets 20] [--size 5] [--processes 2]``.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from assembler.artifact import Assembly
from assembler.assemble import assemble
from assembler.device import Profile
from assembler.errors import Infeasible
from assembler.estimate import RESERVES, needed_limits
from assembler.joint import choose
from assembler.measure import ensure_profile, measure_model
from assembler.propose import Estimator, least_cost
from assembler.scenario import Scenario
from assembler.utility import PORTFOLIO
from benchmarks.machine import describe_machine
from benchmarks.scratch import Schedule, scratch_accuracy
from supernet.checkpoint import load_checkpoint
from supernet.data import Augmentation, DataSet, load_data
from supernet.gates import Gates
from supernet.train import held_out

ZOO = Path(__file__).parents[1] / "supernet" / "zoo"
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
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scratch", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(options.data)
    rows = generated(options, data)
    if options.scratch:
        add_scratch(rows, options)
    print(json.dumps(report(rows, options), indent=1))


def generated(options: argparse.Namespace, data: DataSet) -> list[dict[str, Any]]:
    """Generate a model for every class set, test it, and measure it again when all are made."""
    checkpoint = load_checkpoint(ZOO / options.supernet)
    estimator = Estimator(checkpoint.folder, checkpoint.card)
    with tempfile.TemporaryDirectory() as folder:
        *_, profile = ensure_profile(checkpoint.card, Path(folder))
    assert isinstance(profile, Profile)
    sets = class_sets(options.sets, options.size, len(data.classes), options.seed)
    rows, contents = [], []
    limits = latency_limits(
        checkpoint.card, profile, [data.classes[c] for c in sets[0]], len(sets), options.seed
    )
    for classes, limit in zip(sets, limits, strict=True):
        names = tuple(data.classes[c] for c in classes)
        began = time.perf_counter()
        try:
            *_, assembly = assemble(scenario_of(names, limit), checkpoint, estimator, profile)
        except Infeasible:
            rows.append({"classes": list(classes), "limit_ms": limit, "made": False})
            contents.append(b"")
            continue
        took_s = time.perf_counter() - began
        assert isinstance(assembly, Assembly)
        contents.append(assembly.content)
        on = assembly.manifest["supernet"]["modules_on"]
        rows.append(
            {
                "classes": list(classes),
                "limit_ms": limit,
                "made": True,
                "predicted_ms": round(assembly.predicted.latency_ms, 4),
                "measured_ms": round(assembly.measured.latency_ms, 4),
                "predicted_accuracy": round(assembly.predicted.accuracy, 4),
                "validation_accuracy": round(assembly.measured.accuracy, 4),
                "test_accuracy": round(tested(assembly.content, data, classes), 4),
                "took_s": round(took_s, 3),
                "counts": [len(block) for block in on],
                "gates": {budget: task_gates(names, estimator, profile, budget) for budget in BUDGETS},
            }
        )
    for row, content in zip(rows, contents, strict=True):
        if not row["made"]:
            continue
        again = measure_model(content, checkpoint.card.architecture.input, threads=profile.threads)
        row["measured_again_ms"] = round(again.latency_ms, 4)
        row["within_limit_again"] = again.latency_ms <= row["limit_ms"]
    return rows


def class_sets(count: int, size: int, classes: int, seed: int) -> list[tuple[int, ...]]:
    """Return different random class sets that training never sampled."""
    draw = np.random.default_rng(seed)
    found: list[tuple[int, ...]] = []
    while len(found) < count:
        chosen = tuple(sorted(int(c) for c in draw.choice(classes, size, replace=False)))
        if held_out(chosen) and chosen not in found:
            found.append(chosen)
    return found


def latency_limits(card: Any, profile: Profile, names: list[str], count: int, seed: int) -> list[float]:
    """Return limits from the tightest that can be met to the dense net's latency, evenly in the logarithm."""
    low = needed_limits(least_cost(scenario_of(tuple(names), 1.0), card, profile), profile)["latency_ms"]
    dense = profile.latency.predict_ms([block.modules for block in card.architecture.blocks])
    low, high = low * (1 + RESERVES["latency_ms"]), dense * (1 + profile.latency.margin)
    steps = np.exp(np.linspace(np.log(low), np.log(high), count))
    return [round(float(limit), 4) for limit in np.random.default_rng(seed + 1).permutation(steps)]


def task_gates(
    names: tuple[str, ...], estimator: Estimator, profile: Profile, budget: float
) -> list[list[int]]:
    """Return the modules that the class term at full weight chooses within a budget, among those it may choose."""
    blocks = estimator.card.architecture.blocks
    (values,) = estimator.utilities(names, budget, PORTFOLIO[-1:])
    architecture = estimator.card.architecture
    gates = choose(np.concatenate(values), architecture, profile, budget)
    return [list(on) if block.task_wise else [] for on, block in zip(gates.active, blocks, strict=True)]


def mean_overlap(rows: list[dict[str, Any]], budget: float) -> float:
    """Return the mean Jaccard index of the task's gates over all pairs of class sets."""
    found = [Gates(tuple(tuple(block) for block in row["gates"][budget])) for row in rows]
    return round(statistics.mean(a.overlap(b) for a, b in combinations(found, 2)), 4)


def scenario_of(names: tuple[str, ...], limit_ms: float) -> Scenario:
    """Return the scenario of one row."""
    facts = {"task": {"kind": "classification", "classes": list(names)}, "limits": {"latency_ms": limit_ms}}
    return Scenario.model_validate_json(json.dumps(facts))


def tested(content: bytes, data: DataSet, classes: tuple[int, ...]) -> float:
    """Return the accuracy of a model file on the test images of its classes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    mine = data.test.of_classes(list(classes))
    (scores,) = session.run(None, {"image": mine.images.astype(np.float32)})
    return float((scores.argmax(axis=1) == mine.labels).mean())


def add_scratch(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Train every model's shape from scratch, several at a time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, torch.set_num_threads, (1,)) as pool:
        rows = [row for row in rows if row["made"]]
        facts = [(row["counts"], row["classes"], options) for row in rows]
        for number, (row, accuracy) in enumerate(zip(rows, pool.map(_scratch, facts), strict=True), 1):
            row["scratch_accuracy"] = round(accuracy, 4)
            print(f"scratch {number}/{len(rows)}", file=sys.stderr, flush=True)


def _scratch(facts: tuple[list[int], list[int], argparse.Namespace]) -> float:
    counts, classes, options = facts
    card = load_checkpoint(ZOO / options.supernet).card
    augmentation = Augmentation(flip=options.flip)
    schedule = Schedule(epochs=options.epochs, seed=options.seed)
    return scratch_accuracy(
        card.architecture, counts, load_data(options.data), classes, augmentation, schedule
    )


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return means over all rows, and the rows."""
    asked, rows = rows, [row for row in rows if row["made"]]

    def mean(name: str) -> float:
        return round(statistics.mean(row[name] for row in rows), 4)

    summary: dict[str, Any] = {
        "sets": len(asked),
        "made": len(rows),
        "mean_overlap_of_gates": {budget: mean_overlap(rows, budget) for budget in BUDGETS},
        "test_accuracy": mean("test_accuracy"),
        "within_limit": sum(row["measured_ms"] <= row["limit_ms"] for row in rows),
        "within_limit_again": sum(row["within_limit_again"] for row in rows),
        "prediction_error": round(
            statistics.mean(abs(row["predicted_accuracy"] - row["test_accuracy"]) for row in rows), 4
        ),
        "took_s_p50": round(statistics.median(row["took_s"] for row in rows), 3),
        "took_s_max": max(row["took_s"] for row in rows),
    }
    if options.scratch:
        differences = [row["test_accuracy"] - row["scratch_accuracy"] for row in rows]
        summary["scratch_accuracy"] = mean("scratch_accuracy")
        summary["difference"] = round(statistics.mean(differences), 4)
        summary["difference_standard_error"] = round(statistics.stdev(differences) / len(rows) ** 0.5, 4)
        summary["at_least_scratch"] = sum(difference >= 0 for difference in differences)
    arguments = {
        name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()
    }
    arguments["data"] = options.data.name
    arguments["cores"] = os.cpu_count()
    return {"machine": describe_machine(), "arguments": arguments, "summary": summary, "rows": asked}


if __name__ == "__main__":
    main()
