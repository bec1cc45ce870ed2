"""Refine: train a cut-out network a little further for its task, taught by the dense net.

Legend: B images, K classes of the supernet, T outputs of the task.
Source: in-place distillation (Yu and Huang, arXiv 1903.05134), here for one sub-network; teacher and student see
the same augmented images (Beyer et al., arXiv 2106.05237).
"""

import copy
import math
import time
from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from assembler.images import TaskImages
from supernet.augment import Augmentation, augment
from supernet.evaluate import as_batch
from supernet.gates import Gates, full_gates
from supernet.layers import Statistics
from supernet.model import Supernet, calibrate

BATCH = 128
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, WARMUP = 0.01, 0.9, 1e-4, 0.05
SOFT = 0.5


def refine(
    supernet: Supernet,
    gates: Gates,
    images: TaskImages,
    seconds: float,
    *,
    augmentation: Augmentation = Augmentation(),
    teach: bool = True,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[float, None, tuple[Supernet, Statistics]]:
    """Return a copy of a supernet whose sub-network of some gates was trained further, and that one's statistics.

    Before every step it yields how far it is, 0..1.

    Layers are normalised throughout by what they are calibrated with, on images of all classes: of other gates, and
    calibrated anew, the copy is of no use. Normalised by images of the task alone, a network first loses what it has
    learned of all classes.

    Args:
        supernet: is not changed.
        gates: of the sub-network.
        images: trained on are those to fit heads on; those to validate on stay unseen.
        seconds: how long to train.
        augmentation: of the images.
        teach: whether the dense net teaches, beside the labels.
        seed: of the order of the images and their augmentation.
        clock: tells the time, s.
    """
    student = copy.deepcopy(supernet).requires_grad_(True)
    device, dense = supernet.mean.device, full_gates(supernet.architecture)
    pixels, labels = torch.from_numpy(images.fit.images), torch.from_numpy(images.fit.labels)
    calibration = as_batch(images.calibration.images, device)
    statistics, known = (calibrate(supernet, each, calibration) for each in (gates, dense))
    solver = torch.optim.SGD(
        student.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    draw = torch.Generator().manual_seed(seed)
    order = np.random.default_rng(seed)
    began = clock()
    while (progress := (clock() - began) / seconds) < 1:
        yield progress
        chosen = torch.from_numpy(order.integers(0, len(labels), BATCH))
        batch = augment(pixels[chosen], augmentation, draw).to(device, memory_format=torch.channels_last)
        for group in solver.param_groups:
            group["lr"] = LEARNING_RATE * _factor(progress)
        solver.zero_grad(set_to_none=True)
        logits = _of_task(student(batch, gates, statistics), images)
        loss = F.cross_entropy(logits, labels[chosen].to(device))
        if teach:
            with torch.no_grad():
                target = F.log_softmax(_of_task(supernet(batch, dense, known), images), dim=1)
            soft = F.kl_div(F.log_softmax(logits, dim=1), target, log_target=True, reduction="batchmean")
            loss = (1 - SOFT) * loss + SOFT * soft
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        solver.step()
    return student.requires_grad_(False), statistics


def _factor(progress: float) -> float:
    return min(1.0, progress / WARMUP) * 0.5 * (1 + math.cos(math.pi * progress))


def _of_task(logits: Tensor, images: TaskImages) -> Tensor:
    """Return the logits of a task's outputs, B x T, from those of all classes, B x K."""
    mine, of = logits[:, list(images.outputs.rows)], images.outputs.merged
    if of is None:
        return mine
    members = (torch.tensor(of) == output for output in range(images.outputs.count))
    return torch.stack([mine[:, rows].logsumexp(dim=1) for rows in members], dim=1)
