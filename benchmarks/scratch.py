"""Train the yardstick of ``quality.py``: networks from scratch, each for one class set and one latency.

Same blocks, images, augmentation and kind of schedule as the supernet's training. A plan, in
``yardsticks/<supernet>.json``, says which: for every budget the shape that the checkpoint's own ladder has there, so
that a network stands against a model of its own architecture. What was trained is written into it at once and is
not trained again:
``python -m benchmarks.scratch --data cifar10 --supernet cifar10 --plan`` writes the plan, keeping what is trained,
``python -m benchmarks.scratch --data cifar10 --supernet cifar10`` trains what is missing.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from assembler.device import Profile
from assembler.measure import ensure_profile
from assembler.neighbours import neighbours
from assembler.propose import Estimator
from benchmarks.shapes import shape_within
from benchmarks.tasks import class_sets, is_cluster
from service.zoo import shipped_zoo
from supernet.augment import Augmentation, augment
from supernet.card import Architecture, Card, load_card
from supernet.checkpoint import load_checkpoint
from supernet.data import DataSet, Split, load_data
from supernet.evaluate import as_batch
from supernet.gates import Gates, prefix_gates
from supernet.model import Supernet, calibrate
from supernet.train import learning_rate_factor

FOLDER = Path(__file__).parent / "yardsticks"
BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, WARMUP = 128, 0.1, 0.9, 5e-4, 0.05
# However few the images: so many steps at least.
LEAST_STEPS = 2500
CALIBRATION_IMAGES = 2000
BUDGETS = (0.1, 0.2, 0.3, 0.4)
# How many class sets of each size are compared.
SETS = {5: 20, 2: 10, 3: 10}


def main() -> None:
    """Write the plan, or train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", default="fashion")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--epochs", type=int, default=24, help="for a new plan")
    parser.add_argument("--shift-px", type=int, default=2, help="for a new plan")
    parser.add_argument("--flip", action="store_true", help="for a new plan")
    options = parser.parse_args()
    path = FOLDER / f"{options.supernet}.json"
    if options.plan:
        recipe = {
            "epochs": options.epochs,
            "seed": 0,
            "shift_px": options.shift_px,
            "flip": options.flip,
            "erase": 0.25,
            "note": "batch 128, at least 2,500 steps, SGD with Nesterov momentum 0.9, rate 0.1 with warm-up and half "
            "cosine, weight decay 5e-4",
        }
        known = json.loads(path.read_text()) if path.exists() else {"recipe": recipe, "networks": []}
        write(path, planned(known, options.supernet, load_data(options.data), options.data.parent))
        return
    yardstick = json.loads(path.read_text())
    architecture = load_card(shipped_zoo() / options.supernet).architecture
    missing = [row for row in yardstick["networks"] if row["accuracy"] is None]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, torch.set_num_threads, (1,)) as pool:
        futures = {
            pool.submit(trained, options.data, architecture, yardstick["recipe"], row): row for row in missing
        }
        for number, future in enumerate(as_completed(futures), 1):
            futures[future].update(future.result())
            write(path, yardstick)
            print(f"{number}/{len(missing)}: {futures[future]}", file=sys.stderr, flush=True)


def augmentation_of(card: Card) -> Augmentation:
    """Return how the images of a supernet's training were changed: as its Card knows, else as for its yardstick.

    Raises:
        ValueError: neither says.
    """
    if card.training.augmentation:
        return Augmentation(**card.training.augmentation)
    path = FOLDER / f"{card.name}.json"
    if not path.exists():
        raise ValueError(f"nothing says how the images of {card.name} were changed in training")
    recipe = json.loads(path.read_text())["recipe"]
    return Augmentation(recipe["shift_px"], recipe["flip"], recipe["erase"])


def write(path: Path, yardstick: dict[str, Any]) -> None:
    """Write a plan, a network a line."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in yardstick["networks"])
    path.write_text(f'{{\n "recipe": {json.dumps(yardstick["recipe"])},\n "networks": [\n{rows}\n ]\n}}\n')


def planned(known: dict[str, Any], supernet: str, data: DataSet, datasets: Path) -> dict[str, Any]:
    """Return a plan that has every class set at every budget; networks that are trained stay in it.

    They are in the order in which they are worth training: one class set after the other, at all its budgets.
    """
    folder = shipped_zoo() / supernet
    checkpoint = load_checkpoint(folder, datasets=datasets)
    estimator = Estimator(folder, checkpoint.card)
    with tempfile.TemporaryDirectory() as kept:
        *_, profile = ensure_profile(checkpoint.card, Path(kept))
    assert isinstance(profile, Profile)
    close = neighbours(
        checkpoint.supernet, data.groups, checkpoint.calibration.balanced(40, 0), checkpoint.validation
    )
    sets = {count: class_sets(close, count, number) for count, number in SETS.items()}
    networks = [row for row in known["networks"] if row["accuracy"] is not None]
    there = {(tuple(row["classes"]), row["budget"]) for row in networks}
    shapes = {budget: shape_within(estimator, profile, budget) for budget in BUDGETS}
    for index in range(max(SETS.values())):
        for count in SETS:
            if index >= len(sets[count]):
                continue
            for budget in BUDGETS:
                classes, shape = sets[count][index], shapes[budget]
                if shape is not None and (classes, budget) not in there:
                    row = {"classes": classes, "cluster": is_cluster(index), "budget": budget}
                    networks.append(
                        {**row, "counts": shape.counts, "side": shape.side, "accuracy": None, "seconds": None}
                    )
    return {**known, "networks": networks}


def trained(
    data: Path, architecture: Architecture, recipe: dict[str, Any], row: dict[str, Any]
) -> dict[str, Any]:
    """Train one network; return its accuracy on the test images of its classes, and the seconds of a core it took."""
    began = time.process_time()
    gates = prefix_gates(tuple(row["counts"]), row.get("side"))
    accuracy = _train(load_data(data), architecture, recipe, row["classes"], gates)
    return {"accuracy": round(accuracy, 4), "seconds": round(time.process_time() - began, 1)}


def _train(
    data: DataSet, architecture: Architecture, recipe: dict[str, Any], classes: list[int], gates: Gates
) -> float:
    torch.manual_seed(recipe["seed"])
    train = data.train.of_classes(classes)
    network = Supernet(architecture, len(classes)).to(memory_format=torch.channels_last)
    total = max(recipe["epochs"] * max(1, len(train) // BATCH), LEAST_STEPS)
    kind = Augmentation(recipe["shift_px"], recipe["flip"], recipe["erase"])
    fit(network, gates, train, kind, lambda step: step / total, seed=recipe["seed"])
    return tested(network, gates, train, data.test.of_classes(classes))


def fit(
    network: Supernet,
    gates: Gates,
    train: Split,
    kind: Augmentation,
    progress: Callable[[int], float],
    *,
    rate: float = LEARNING_RATE,
    seed: int = 0,
) -> int:
    """Train a network and return how many steps were made.

    Args:
        network: all of it may be trained, its parts that are on are.
        gates: which are on.
        train: images and labels.
        kind: of augmentation.
        progress: how far training is when so many steps are made; it ends at 1.
        rate: the highest learning rate.
        seed: of the order of the images and their augmentation.
    """
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    solver = torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    draw = torch.Generator().manual_seed(seed)
    per_epoch, step = max(1, len(train) // BATCH), 0
    while (done := progress(step)) < 1:
        if step % per_epoch == 0:
            order = torch.randperm(len(train), generator=draw)
        chosen = order[step % per_epoch * BATCH :][:BATCH]
        for group in solver.param_groups:
            group["lr"] = rate * learning_rate_factor(done, WARMUP)
        batch = augment(images[chosen], kind, draw).to(memory_format=torch.channels_last)
        solver.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(batch, gates), labels[chosen]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        solver.step()
        step += 1
    return step


@torch.no_grad()
def tested(network: Supernet, gates: Gates, train: Split, test: Split) -> float:
    """Return the accuracy of a network that is normalised by some of its training images."""
    device = torch.device("cpu")
    statistics = calibrate(network, gates, as_batch(train.images[:CALIBRATION_IMAGES], device))
    logits = network(as_batch(test.images, device), gates, statistics).numpy()
    return float((np.argmax(logits, axis=1) == test.labels).mean())


if __name__ == "__main__":
    main()
