"""Scratch: train a network of a given shape for one class set from nothing, the yardstick of ``quality.py``.

Same blocks, same images, same augmentation and the same kind of schedule as the supernet's training.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from supernet.card import Architecture
from supernet.data import Augmentation, DataSet, Split, augment
from supernet.evaluate import as_batch
from supernet.gates import prefix_gates
from supernet.model import Supernet, calibrate
from supernet.train import learning_rate_factor

CACHE = Path(__file__).parent / "cache"
WARMUP = 0.05


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a scratch network is trained."""

    epochs: int = 16
    batch: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    seed: int = 0


def scratch_accuracy(
    architecture: Architecture,
    counts: Sequence[int],
    data: DataSet,
    classes: Sequence[int],
    augmentation: Augmentation,
    schedule: Schedule,
) -> float:
    """Return the test accuracy of a network trained from scratch; it is trained once and remembered.

    Args:
        architecture: whose blocks are used, with the first ``counts[l]`` modules of each.
        counts: modules of every block.
        data: trained on its train split, tested on its test split, of ``classes`` alone.
        classes: indices.
        augmentation: of the training images.
        schedule: how long and how.
    """
    facts = [
        architecture.model_dump(mode="json"),
        list(counts),
        data.name,
        list(classes),
        asdict(augmentation),
    ]
    key = hashlib.sha256(json.dumps([*facts, asdict(schedule)]).encode()).hexdigest()[:24]
    known = CACHE / f"scratch-{key}.json"
    if known.exists():
        return float(json.loads(known.read_text())["accuracy"])
    accuracy = _train(architecture, tuple(counts), data, list(classes), augmentation, schedule)
    CACHE.mkdir(exist_ok=True)
    partial = known.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"accuracy": accuracy, "counts": list(counts), "classes": list(classes)}))
    partial.replace(known)
    return accuracy


def _train(
    architecture: Architecture,
    counts: tuple[int, ...],
    data: DataSet,
    classes: list[int],
    augmentation: Augmentation,
    schedule: Schedule,
) -> float:
    torch.manual_seed(schedule.seed)
    train, test = data.train.of_classes(classes), data.test.of_classes(classes)
    gates = prefix_gates(counts)
    network = Supernet(architecture, len(classes)).to(memory_format=torch.channels_last)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    solver = torch.optim.SGD(groups, lr=schedule.learning_rate, momentum=0.9, nesterov=True)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    draw = torch.Generator().manual_seed(schedule.seed)
    per_epoch = len(train) // schedule.batch
    total = schedule.epochs * per_epoch
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(train), generator=draw)
        chosen = order[step % per_epoch * schedule.batch :][: schedule.batch]
        for group in solver.param_groups:
            group["lr"] = schedule.learning_rate * learning_rate_factor(step / total, WARMUP)
        batch = augment(images[chosen], augmentation, draw).to(memory_format=torch.channels_last)
        solver.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(batch, gates), labels[chosen]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        solver.step()
    return _test(network, counts, train, test)


@torch.no_grad()
def _test(network: Supernet, counts: tuple[int, ...], train: Split, test: Split) -> float:
    gates = prefix_gates(counts)
    device = torch.device("cpu")
    statistics = calibrate(network, gates, as_batch(train.images[:2000], device))
    logits = network(as_batch(test.images, device), gates, statistics).numpy()
    return float((np.argmax(logits, axis=1) == test.labels).mean())
