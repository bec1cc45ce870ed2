"""Probe: the first head of a supernet that starts with published weights.

Fitted on features that are good already, it spares them the steps in which a random head would pull at them.
Legend: N images, F features, K classes.
Source: linear probing, then fine-tuning (Kumar et al., arXiv 2202.10054).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from assembler.refit import refit_head
from assembler.subnet import Array
from supernet.data import Split
from supernet.evaluate import as_batch
from supernet.gates import full_gates
from supernet.layers import Statistics
from supernet.model import Supernet, calibrate

MOST_IMAGES = 20_000
CALIBRATION_IMAGES = 256
CHUNK = 32
PULL = 1e-4


@torch.no_grad()
def start_head(supernet: Supernet, images: Split, *, rank: int = 0, world: int = 1) -> None:
    """Give a supernet the head that suits the dense net's features best, as they are.

    Args:
        supernet: its head is changed.
        images: to fit it on; at most 20,000 are taken.
        rank: this process.
        world: how many processes share the work; all get the result.
    """
    classes = supernet.head.out_features
    fitted = images.balanced(max(1, MOST_IMAGES // classes), seed=0)
    batch = as_batch(fitted.images[:CALIBRATION_IMAGES], supernet.mean.device)
    statistics = calibrate(supernet, full_gates(supernet.architecture), batch)
    known = features(supernet, statistics, fitted, rank=rank, world=world)
    weight, bias = fresh_head(known.numpy(), fitted.labels, classes)
    supernet.head.weight.copy_(torch.from_numpy(weight))
    supernet.head.bias.copy_(torch.from_numpy(bias))
    if world > 1:
        for parameter in supernet.head.parameters():
            distributed.broadcast(parameter.data, 0)


def fresh_head(known: Array, labels: npt.NDArray[np.int64], classes: int) -> tuple[Array, Array]:
    """Return a head, K x F and K, fitted by logistic regression on features N x F."""
    start = np.zeros((classes, known.shape[1]), np.float32), np.zeros(classes, np.float32)
    return refit_head(known, labels, *start, pull=PULL)


@torch.no_grad()
def features(
    supernet: Supernet, statistics: Statistics, images: Split, *, rank: int = 0, world: int = 1
) -> Tensor:
    """Return the dense net's features of images, N x F; arguments as in ``start_head``."""
    gates, device = full_gates(supernet.architecture), supernet.mean.device
    found = torch.zeros(len(images), supernet.head.in_features)
    for start in range(rank * CHUNK, len(images), world * CHUNK):
        batch = as_batch(images.images[start : start + CHUNK], device)
        found[start : start + CHUNK] = supernet.features(batch, gates, statistics).cpu()
    if world > 1:
        distributed.all_reduce(found)
    return found
