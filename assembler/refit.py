"""Fit the linear head again, for the requested classes alone, on the features of the cut-out network.

Legend: N images, F features, K classes of the task.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from assembler.subnet import Array

PULL = 3e-3
STEPS = 60


def refit_head(
    features: Array,
    labels: npt.NDArray[np.int64],
    weight: Array,
    bias: Array,
    *,
    own: int | None = None,
    pull: float = PULL,
) -> tuple[Array, Array]:
    """Return a head (K x F, K) fitted by logistic regression, started at and pulled towards the given one.

    Args:
        features: N x F.
        labels: N, in 0..K-1; in 0..own where that is given.
        weight: K x F, of the head to start from.
        bias: K.
        own: so many rows are outputs of their own, all others together are one more; see ``Subnet``.
        pull: strength of the squared distance to the start, per image, on standardised features.

    Source: L-BFGS of torch.optim, strong Wolfe line search.
    """
    x = torch.from_numpy(features).double()
    mean, spread = x.mean(dim=0), x.std(dim=0) + 1e-6
    x = (x - mean) / spread
    y = torch.from_numpy(labels)
    start = torch.from_numpy(weight).double() * spread
    start_bias = torch.from_numpy(bias).double() + torch.from_numpy(weight).double() @ mean
    w = start.clone().requires_grad_()
    b = start_bias.clone().requires_grad_()
    solver = torch.optim.LBFGS([w, b], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        logits = x @ w.T + b
        if own is not None:
            logits = torch.cat([logits[:, :own], logits[:, own:].logsumexp(dim=1, keepdim=True)], dim=1)
        value = F.cross_entropy(logits, y) + pull * (w - start).square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    fitted = w.detach() / spread
    fitted_bias = b.detach() - fitted @ mean
    return fitted.numpy().astype(np.float32), fitted_bias.numpy().astype(np.float32)
