"""Class-by-module affinity: how much every module is worth to every class.

Legend: K classes, M modules of all blocks together.
Source: first-order (Taylor) importance of gates (Molchanov et al., arXiv 1906.10771), taken per class and
averaged over random sub-networks, since in the full net every module can be spared.
"""

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from assembler.effort import Done
from assembler.images import CALIBRATION_IMAGES
from supernet.data import Split
from supernet.elastic import random_gates
from supernet.evaluate import as_batch
from supernet.model import Supernet, calibrate

BUDGETS = (0.05, 0.6)
# At 0.5 a module that suits a class by one standard deviation is worth 1.6 times as much to it.
AFFINITY_SPREAD = 0.5


def class_saliency(
    supernet: Supernet,
    data: Split,
    *,
    networks: int,
    per_class: int = 32,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Generator[Done, None, Tensor]:
    """Return the mean |d loss of class / d gate| over random sub-networks, K x M, 0 where never on.

    Yields how far it is.

    Args:
        supernet: is not changed.
        data: images to take the gradients on, classes interleaved (``Split.balanced``).
        networks: how many sub-networks of 5 to 60 % of the full net.
        per_class: images of each class.
        seed: of the sub-networks.
        rank: this process.
        world: how many processes share the sub-networks; all get the result.
    """
    architecture = supernet.architecture
    classes = supernet.head.out_features
    starts = np.cumsum([0, *(block.modules for block in architecture.blocks)])
    total, seen = torch.zeros(classes, int(starts[-1])), torch.zeros(int(starts[-1]))
    device = supernet.mean.device
    calibration = as_batch(data.images[:CALIBRATION_IMAGES], device)
    batches = [as_batch(data.images[data.labels == c][:per_class], device) for c in range(classes)]
    for index in range(rank, networks, world):
        draw = np.random.default_rng((seed, 3, index))
        budget = float(np.exp(draw.uniform(*np.log(BUDGETS))))
        gates = random_gates(draw, architecture, budget)
        places = [int(start) + m for start, block in zip(starts, gates.active, strict=False) for m in block]
        statistics = calibrate(supernet, gates, calibration)
        seen[places] += 1
        for label, batch in enumerate(batches):
            strengths = [torch.ones(n, device=device, requires_grad=True) for n in gates.counts]
            logits = supernet(batch, gates, statistics, strengths)
            target = torch.full((len(batch),), label, device=device)
            used = [s for s in strengths if len(s)]
            gradients = torch.autograd.grad(F.cross_entropy(logits, target), used)
            total[label, places] += torch.cat(gradients).abs().cpu()
        yield Done(index + 1, networks)
    if world > 1:
        distributed.all_reduce(total)
        distributed.all_reduce(seen)
    return total / seen.clamp(min=1)


def affinity_from(saliency: Tensor) -> Tensor:
    """Return a module's affinity to each class, K x M: logarithms above those of all classes, standardised.

    Args:
        saliency: K x M, >= 0.
    """
    floor = saliency[saliency > 0].quantile(0.01) if bool((saliency > 0).any()) else torch.tensor(1.0)
    logarithm = torch.log(saliency.clamp(min=float(floor)))
    affinity = logarithm - logarithm.mean(dim=0)
    return AFFINITY_SPREAD * affinity / affinity.std().clamp(min=1e-6)
