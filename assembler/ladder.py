"""Ladder: the order in which sub-networks grow, one module at a time, found by trying.

Weights are shared by all sub-networks, and each is the better the fewer shapes share them: seven shapes that grow
out of one another reach what each reaches alone, shapes at random 2 points less. So the supernet is trained on
shapes near one ladder, and utilities follow it.
Legend: L blocks, M modules of all blocks together.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from assembler.cost import cost_of
from assembler.device import Profile
from assembler.utility import LOGARITHM_RANGE
from supernet.card import Architecture
from supernet.data import Split
from supernet.evaluate import as_batch
from supernet.gates import prefix_gates
from supernet.model import Supernet, calibrate

# The utility of a module is at most this many times that of the next one on the ladder: the search gives one up
# only for three or more that come later.
STEP = 1.8


@torch.no_grad()
def find_ladder(
    supernet: Supernet, profile: Profile, calibration: Split, images: Split, *, rank: int = 0, world: int = 1
) -> tuple[int, ...]:
    """Return the block that gets its next module at every step from none to all, M indices.

    Greedy: the module that lowers the loss most for the latency it adds.

    Args:
        supernet: trained so far on random sub-networks.
        profile: of the device whose latency counts.
        calibration: images to normalise with.
        images: to take the loss on.
        rank: this process.
        world: how many processes share the tries; all get the result.
    """
    architecture = supernet.architecture
    most = [block.modules for block in architecture.blocks]
    counts = [0] * len(most)
    loss = _losses(supernet, [tuple(counts)], calibration, images, rank, world)[0]
    found: list[int] = []
    while counts != most:
        open_blocks = [index for index, count in enumerate(counts) if count < most[index]]
        tries = [tuple(n + (index == place) for place, n in enumerate(counts)) for index in open_blocks]
        losses = _losses(supernet, tries, calibration, images, rank, world)
        now = cost_of(architecture, counts, 1, profile).latency_ms
        added = [cost_of(architecture, each, 1, profile).latency_ms - now for each in tries]
        best = _steepest([loss - each for each in losses], added)
        found.append(open_blocks[best])
        counts, loss = list(tries[best]), losses[best]
    return tuple(found)


def _steepest(gains: Sequence[float], costs: Sequence[float]) -> int:
    """Return where the gain for its cost is highest; where nothing gains, the least loss."""
    if max(gains) > 0:
        return int(np.argmax([gain / max(cost, 1e-9) for gain, cost in zip(gains, costs, strict=True)]))
    return int(np.argmax(gains))


def _losses(
    supernet: Supernet,
    shapes: Sequence[tuple[int, ...]],
    calibration: Split,
    images: Split,
    rank: int,
    world: int,
) -> list[float]:
    device = supernet.mean.device
    labels = torch.from_numpy(images.labels).to(device)
    found = torch.zeros(len(shapes), dtype=torch.float64)
    for place in range(rank, len(shapes), world):
        gates = prefix_gates(shapes[place])
        statistics = calibrate(supernet, gates, as_batch(calibration.images, device))
        logits = supernet(as_batch(images.images, device), gates, statistics)
        found[place] = float(F.cross_entropy(logits, labels))
    if world > 1:
        distributed.all_reduce(found)
    return [float(value) for value in found]


def worth_of(ladder: Sequence[int], architecture: Architecture) -> Tensor:
    """Return the log-utilities of all modules, M, falling along the ladder by an even step, 0 on average."""
    starts = np.cumsum([0, *(block.modules for block in architecture.blocks)])
    step = min(np.log(STEP), 2 * (LOGARITHM_RANGE - 1) / max(1, len(ladder) - 1))
    counts, worth = [0] * len(architecture.blocks), torch.zeros(len(ladder))
    for place, block in enumerate(ladder):
        worth[int(starts[block]) + counts[block]] = ((len(ladder) - 1) / 2 - place) * step
        counts[block] += 1
    return worth
