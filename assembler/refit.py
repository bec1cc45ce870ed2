"""Fit the linear head again, for the requested classes alone, on the features of the cut-out network.

Legend: N images, F features, K rows of the head.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from assembler.subnet import Array

PULL = 1e-2
STEPS = 25


@torch.no_grad()
def refit_head(
    features: Array,
    labels: npt.NDArray[np.int64],
    weight: Array,
    bias: Array,
    *,
    of: tuple[int, ...] | None = None,
    pull: float = PULL,
) -> tuple[Array, Array]:
    """Return a head (K x F, K) fitted by logistic regression, started at and pulled towards the given one.

    Args:
        features: N x F.
        labels: N, the output of each image.
        weight: K x F, of the head to start from.
        bias: K.
        of: the output that every row counts for, None where each is its own; see ``Subnet``.
        pull: strength of the squared distance to the start, per image, on standardised features.

    Source: L-BFGS of torch.optim, strong Wolfe line search.
    """
    x = torch.from_numpy(features)
    mean, spread = x.mean(dim=0), x.std(dim=0) + 1e-6
    x = (x - mean) / spread
    y = torch.from_numpy(labels)
    start = torch.from_numpy(weight) * spread
    w, b = start.clone(), torch.from_numpy(bias) + torch.from_numpy(weight) @ mean
    solver = torch.optim.LBFGS([w, b], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        value, slope = loss_and_slope(torch.addmm(b, x, w.T), y, of)
        w.grad, b.grad = slope.T @ x + 2 * pull * (w - start), slope.sum(dim=0)
        return value + pull * (w - start).square().sum()

    solver.step(loss)  # type: ignore[no-untyped-call]
    fitted = w / spread
    return fitted.numpy(), (b - fitted @ mean).numpy()


def loss_and_slope(logits: Tensor, labels: Tensor, of: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy and its derivative by the logits, N x K.

    Args:
        logits: N x K.
        labels: N, the output of each image.
        of: the output that every row counts for, None where each is its own.
    """
    every = torch.log_softmax(logits, dim=1)
    outputs = torch.arange(logits.shape[1]) if of is None else torch.tensor(of)
    mine = every.masked_fill(outputs[None] != labels[:, None], -math.inf)
    right = mine.logsumexp(dim=1, keepdim=True)
    # An image of an output with several rows is shared among them as they claim it.
    return -right.mean(), (every.exp() - torch.exp(mine - right)) / len(logits)
