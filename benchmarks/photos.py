"""Supernets of photographs: their generated models against the published network's features, and against training.

For all classes together and for random class sets: a probe on the published network's features, the dense supernet,
models generated at shares of its latency, and networks of the same shape that start with the published weights and are
trained for the class set for as many steps as can be made, one thread alone, while the dense net is trained for one
epoch of all training images. Writes
``<out>/photos-<supernet>.json`` and a table beside it:
``python -m benchmarks.photos --data grocery_store.zip --supernet grocery --count 10``.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from assembler.probe import features, fresh_head, start_head
from benchmarks.machine import describe_machine
from benchmarks.quality import RESULTS, SEED, gates_of, open_bench, tell
from benchmarks.report import difference, mean, percent, points
from benchmarks.shapes import asking, dense_ms
from benchmarks.tasks import class_sets
from service.zoo import shipped_zoo
from supernet.augment import Augmentation, augment
from supernet.backbones import LITE0, grow, settle
from supernet.card import load_card
from supernet.data import DataSet, Split, load_data
from supernet.evaluate import as_batch
from supernet.gates import Gates, full_gates, prefix_gates
from supernet.model import Supernet, calibrate
from supernet.train import learning_rate_factor

BUDGETS = (0.35, 0.15)
SETS = 20
BATCH, LEARNING_RATE, WARMUP = 32, 0.02, 0.1
TIMED_STEPS = 5
CALIBRATION_IMAGES = 256
CPU = torch.device("cpu")


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", required=True)
    parser.add_argument("--count", type=int, required=True, help="classes of a set")
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--processes", type=int, default=2, help="that train networks at the same time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = shipped_zoo() / options.supernet
    card = load_card(folder)
    data = load_data(options.data, side_px=card.architecture.input.height)
    bench = open_bench(folder, data, options.data.parent)
    probe = Probe(data, card.architecture.input.height)
    everything = tuple(range(len(card.classes)))
    epoch_s = seconds_of_step(data, everything, full_gates(card.architecture)) * len(data.train) / BATCH
    found: dict[str, Any] = {
        "machine": describe_machine(),
        "supernet": options.supernet,
        "checkpoint": card.digest,
        "seed": SEED,
        "dense_ms": round(dense_ms(bench.estimator, bench.profile), 3),
        "epoch_s": round(epoch_s, 1),
        "rows": [],
    }
    sets = [everything, *class_sets(bench.closeness, options.count, options.sets)]
    rivals = []
    for number, classes in enumerate(sets, 1):
        row = {"classes": classes, "probe": probe.accuracy(classes), **bench.rivals.dense(classes)}
        for budget in BUDGETS:
            limit = budget * dense_ms(bench.estimator, bench.profile)
            assembly, took = bench.generated(asking([card.classes[c] for c in classes], limit))
            if assembly is None or assembly.measured is None:
                continue
            gates = gates_of(assembly, card.architecture.input.height)
            cell = row[f"{budget:.0%}"] = {
                "generated": round(bench.tested(assembly.content, classes), 4),
                "limit_ms": round(limit, 3),
                "measured_ms": round(assembly.measured.latency_ms, 3),
                "took_s": round(took, 3),
                "side": gates.side,
                "counts": gates.counts,
                "steps": round(epoch_s / seconds_of_step(data, classes, gates)),
            }
            rivals.append((cell, classes, gates))
        found["rows"].append(row)
        tell(f"{number} of {len(sets)} class sets")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, torch.set_num_threads, (1,)) as pool:
        trained = [
            pool.submit(trained_alone, data, classes, gates, cell["steps"]) for cell, classes, gates in rivals
        ]
        for number, ((cell, _, _), future) in enumerate(zip(rivals, trained, strict=True), 1):
            cell["trained"] = round(future.result(), 4)
            tell(f"{number} of {len(rivals)} trained")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"photos-{options.supernet}.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / f"photos-{options.supernet}.md").write_text(table(found))
    print(table(found))


class Probe:
    """Logistic regression on the features of the published network, which stays as it is."""

    def __init__(self, data: DataSet, side_px: int) -> None:
        supernet = Supernet(LITE0.design(side_px=side_px), 1)
        statistics = grow(supernet, LITE0)
        self._train, self._test = (
            (features(supernet, statistics, split).numpy(), split.labels) for split in (data.train, data.test)
        )

    def accuracy(self, classes: tuple[int, ...]) -> float:
        """Return the accuracy on the test images of some classes of a head fitted on their training images."""
        (known, labels), (unseen, answers) = (
            of_classes(*split, classes) for split in (self._train, self._test)
        )
        weight, bias = fresh_head(known, labels, len(classes))
        return round(float(((unseen @ weight.T + bias).argmax(axis=1) == answers).mean()), 4)


def of_classes(
    values: np.ndarray, labels: np.ndarray, classes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of some classes, labelled by their place."""
    place = {label: index for index, label in enumerate(classes)}
    chosen = np.isin(labels, classes)
    return values[chosen], np.array([place[label] for label in labels[chosen].tolist()], np.int64)


def seconds_of_step(data: DataSet, classes: tuple[int, ...], gates: Gates) -> float:
    """Return how long a step of training a network of some shape for a class set takes, one thread."""
    network, train = grown(data, classes, gates)
    steps = training(network, shape_of(gates), train, TIMED_STEPS + 1)
    next(steps)
    began = time.perf_counter()
    for _ in steps:
        pass
    return (time.perf_counter() - began) / TIMED_STEPS


def trained_alone(data: DataSet, classes: tuple[int, ...], gates: Gates, steps: int) -> float:
    """Return the test accuracy of a network of some shape, grown from published weights and trained for a class set.

    Args:
        data: its training images are trained on.
        classes: of the set.
        gates: of which only the counts and the side count.
        steps: how many are made.
    """
    network, train = grown(data, classes, gates)
    test, shape = data.test.of_classes(list(classes)), shape_of(gates)
    start_head(network, train)
    for _ in training(network, shape, train, steps):
        pass
    with torch.no_grad():
        statistics = calibrate(network, shape, images_to_settle_on(train))
        known = np.concatenate(
            [
                network.features(as_batch(test.images[start : start + BATCH], CPU), shape, statistics)
                for start in range(0, len(test), BATCH)
            ]
        )
    logits = known @ network.head.weight.detach().numpy().T + network.head.bias.detach().numpy()
    return float((logits.argmax(axis=1) == test.labels).mean())


def grown(data: DataSet, classes: tuple[int, ...], gates: Gates) -> tuple[Supernet, Split]:
    """Return a supernet with published weights, settled on the training images of a class set, and those."""
    torch.manual_seed(SEED)
    side = data.train.images.shape[-1]
    sides = () if gates.side is None else (gates.side,)
    train = data.train.of_classes(list(classes))
    network = Supernet(LITE0.design(side_px=side, sides=sides), len(classes))
    settle(network, grow(network, LITE0), images_to_settle_on(train))
    return network.to(memory_format=torch.channels_last), train


def shape_of(gates: Gates) -> Gates:
    """Return gates of the same shape, the first modules of every block on."""
    return prefix_gates(gates.counts, gates.side)


def images_to_settle_on(train: Split) -> torch.Tensor:
    """Return some of the training images of a class set."""
    return as_batch(train.balanced(CALIBRATION_IMAGES, SEED).images[:CALIBRATION_IMAGES], CPU)


def training(network: Supernet, gates: Gates, train: Split, steps: int) -> Iterator[None]:
    """Train step by step, yielding after each."""
    solver = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    draw = torch.Generator().manual_seed(SEED)
    kind = Augmentation(shift_px=0, flip=True, erase=0.0, zoom=0.5, color=0.2)
    for step in range(steps):
        for group in solver.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step / steps, WARMUP)
        chosen = torch.randint(len(labels), (BATCH,), generator=draw)
        batch = augment(images[chosen], kind, draw).contiguous(memory_format=torch.channels_last)
        solver.zero_grad(set_to_none=True)
        F.cross_entropy(network(batch, gates), labels[chosen]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        solver.step()
        yield


def table(found: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    everything, *sets = found["rows"]
    shares = [f"{budget:.0%}" for budget in BUDGETS]
    lines = [
        f"# Photographs: `{found['supernet']}`",
        "",
        f"Measured by `python -m benchmarks.photos --supernet {found['supernet']}` on {found['machine']['cpu']}, one "
        f"thread a model. The dense net takes {found['dense_ms']:.2f} ms, an epoch of all training images "
        f"{found['epoch_s']:.0f} s of a core; as long are networks of a generated model's shape, grown from the "
        "published weights, trained for its classes. The probe is a head on the published network's features. "
        "Accuracy on test images, %; differences in points with their standard error.",
        "",
        f"| | probe | dense | {' | '.join(f'generated at {share} | trained | difference' for share in shares)} |",
        f"|---|---|---|{'---|---|---|' * len(shares)}",
    ]
    for name, rows in (("all classes", [everything]), (f"{len(sets)} class sets", sets)):
        parts = [percent(mean(rows, "probe")), percent(mean(rows, "dense_refit"))]
        for share in shares:
            made = [row[share] for row in rows if share in row]
            parts += [percent(mean(made, "generated")), percent(mean(made, "trained"))]
            parts.append(points(difference(made, "generated", "trained")))
        lines.append(f"| {name} | {' | '.join(parts)} |")
    made = [row[share] for row in found["rows"] for share in shares if share in row]
    took = [cell["took_s"] for cell in made]
    within = sum(cell["measured_ms"] <= cell["limit_ms"] for cell in made)
    lines += [
        "",
        f"Generated in {np.median(took):.2f} s (p50), {np.percentile(took, 95):.2f} s (p95); {within} of "
        f"{len(found['rows']) * len(shares)} made and within their limit.",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
