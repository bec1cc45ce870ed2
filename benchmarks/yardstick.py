"""Train the yardstick of ``quality.py``: networks of given shapes, from scratch, each for one class set.

Same blocks, same images, same augmentation and the same kind of schedule as the supernet's training. The shapes
and class sets stand in ``yardsticks/<supernet>.json``; what was trained is written there at once, the smallest
networks first, and is not trained again:
``python -m benchmarks.yardstick --data fashion_mnist.npz [--supernet fashion] [--processes 2]``.
"""

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from assembler.cost import macs
from service.zoo import shipped_zoo
from supernet.card import Architecture, load_card
from supernet.data import Augmentation, DataSet, augment, load_data
from supernet.evaluate import as_batch
from supernet.gates import prefix_gates
from supernet.model import Supernet, calibrate
from supernet.train import learning_rate_factor

FOLDER = Path(__file__).parent / "yardsticks"
BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, WARMUP = 128, 0.1, 0.9, 5e-4, 0.05
CALIBRATION_IMAGES = 2000


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", default="fashion")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    path = FOLDER / f"{options.supernet}.json"
    yardstick = json.loads(path.read_text())
    architecture = load_card(shipped_zoo() / options.supernet).architecture
    missing = [row for row in yardstick["networks"] if row["accuracy"] is None]
    missing.sort(key=lambda row: macs(architecture, row["counts"], len(row["classes"])))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, torch.set_num_threads, (1,)) as pool:
        futures = {
            pool.submit(trained, options.data, architecture, yardstick["recipe"], row): row for row in missing
        }
        for number, future in enumerate(as_completed(futures), 1):
            futures[future].update(future.result())
            path.write_text(json.dumps(yardstick, indent=1) + "\n")
            print(f"{number}/{len(missing)}: {futures[future]}", file=sys.stderr, flush=True)


def trained(
    data: Path, architecture: Architecture, recipe: dict[str, Any], row: dict[str, Any]
) -> dict[str, Any]:
    """Train one network; return its accuracy on the test images of its classes, and the seconds it took."""
    began = time.perf_counter()
    accuracy = _train(load_data(data), architecture, recipe, row["classes"], tuple(row["counts"]))
    return {"accuracy": round(accuracy, 4), "seconds": round(time.perf_counter() - began, 1)}


def _train(
    data: DataSet,
    architecture: Architecture,
    recipe: dict[str, Any],
    classes: list[int],
    counts: tuple[int, ...],
) -> float:
    torch.manual_seed(recipe["seed"])
    train, gates = data.train.of_classes(classes), prefix_gates(counts)
    network = Supernet(architecture, len(classes)).to(memory_format=torch.channels_last)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    solver = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    draw = torch.Generator().manual_seed(recipe["seed"])
    kind = Augmentation(recipe["shift_px"], recipe["flip"], recipe["erase"])
    per_epoch = len(train) // BATCH
    total = recipe["epochs"] * per_epoch
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(train), generator=draw)
        chosen = order[step % per_epoch * BATCH :][:BATCH]
        for group in solver.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_factor(step / total, WARMUP)
        batch = augment(images[chosen], kind, draw).to(memory_format=torch.channels_last)
        solver.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(batch, gates), labels[chosen]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        solver.step()
    return _test(network, gates, train.images[:CALIBRATION_IMAGES], data, classes)


@torch.no_grad()
def _test(network: Supernet, gates: Any, calibration: Any, data: DataSet, classes: list[int]) -> float:
    device = torch.device("cpu")
    statistics = calibrate(network, gates, as_batch(calibration, device))
    test = data.test.of_classes(classes)
    logits = network(as_batch(test.images, device), gates, statistics).numpy()
    return float((np.argmax(logits, axis=1) == test.labels).mean())


if __name__ == "__main__":
    main()
