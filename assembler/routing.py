"""Routing: which modules are for which classes, before anything is learned of it.

In a net that is trained for all classes every module serves them all, and its saliency tells little of who needs it.
So classes are parted: every module of a block is the first choice of a share of them, similar ones together, and
training on their tasks makes it theirs. Every block parts them elsewhere.
Legend: K classes, M modules of all blocks together.
Source: experts of a conditional network, routed by what is known of the input (Gururangan et al., arXiv 2108.05036).
"""

import numpy as np
import torch
from torch import Tensor

from supernet.card import Architecture
from supernet.sampling import Closeness

# A module that is for fewer classes than this would be trained too little.
FEWEST_CLASSES = 4


def routes(architecture: Architecture, closeness: Closeness, *, seed: int = 0) -> Tensor:
    """Return how much every module is for each class, K x M: 1 for its own, 0 on average over a block's modules.

    Blocks that are not task-wise, and all where classes are few, have 0 throughout.

    Args:
        architecture: of the supernet.
        closeness: of every class to every other, K x K.
        seed: of where classes are parted.
    """
    classes = len(closeness)
    parts = []
    for index, block in enumerate(architecture.blocks):
        if not block.task_wise or classes < FEWEST_CLASSES * block.modules:
            parts.append(torch.zeros(classes, block.modules))
            continue
        order = chained(closeness, np.random.default_rng((seed, 6, index)))
        module = np.empty(classes, np.int64)
        module[order] = np.arange(classes) * block.modules // classes
        own = torch.nn.functional.one_hot(torch.from_numpy(module), block.modules).float()
        parts.append(own - 1 / block.modules)
    return torch.cat(parts, dim=1)


def chained(closeness: Closeness, draw: np.random.Generator) -> list[int]:
    """Return all classes in an order in which similar ones stand together: each is followed by the closest one left.

    Args:
        closeness: K x K.
        draw: picks the first, and which of equally close ones comes next.
    """
    left = set(range(len(closeness)))
    order = [int(draw.integers(len(closeness)))]
    left.remove(order[0])
    recent = closeness[order[0]].astype(np.float64)
    while left:
        candidates = np.array(sorted(left))
        near = recent[candidates] + 1e-9 * draw.uniform(size=len(candidates))
        order.append(int(candidates[near.argmax()]))
        left.remove(order[-1])
        # What came last counts most: the chain stays in a cluster until that is used up.
        recent = 0.5 * recent + closeness[order[-1]]
    return order
