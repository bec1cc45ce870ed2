"""Ladder: the order in which sub-networks grow, one module at a time, found by trying.

Weights are shared by all sub-networks, and each is the better the fewer shapes share them: seven shapes that grow
out of one another reach what each reaches alone, shapes at random 2 points less. So the supernet is trained on
shapes near one ladder, and utilities follow it.
Legend: L blocks, M modules of all blocks together.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from assembler.device import Profile
from assembler.effort import Done
from assembler.utility import LOGARITHM_RANGE
from supernet.card import Architecture
from supernet.data import Split
from supernet.evaluate import as_batch
from supernet.gates import Gates, prefix_gates
from supernet.model import Supernet, calibrate

# The utility of a module is at most this many times that of the next one on the ladder: the search gives one up
# only for three or more that come later.
STEP = 1.8
RUNGS = 64


@dataclass(frozen=True, slots=True)
class Ladder:
    """How networks grow.

    ``blocks`` are the blocks that get their next module, one after the other, M indices. ``raises`` says for every
    smaller side that the image can be shrunk to, the smallest first, how many modules are on when it grows.
    """

    blocks: tuple[int, ...]
    raises: tuple[int, ...] = ()


@torch.no_grad()
def find_ladder(
    supernet: Supernet,
    profile: Profile,
    calibration: Split,
    images: Split,
    *,
    rungs: int = RUNGS,
    rank: int = 0,
    world: int = 1,
) -> Generator[Done, None, Ladder]:
    """Return the ladder from no module and the smallest image to all modules and the whole image.

    Yields how far it is.

    Greedy: the module, or the larger image, that lowers the loss most for the latency it adds.

    Args:
        supernet: trained so far on random sub-networks.
        profile: of the device whose latency counts.
        calibration: images to normalise with.
        images: to take the loss on.
        rungs: about how many there are at most: where blocks have many modules, several are added at once.
        rank: this process.
        world: how many processes share the tries; all get the result.
    """
    device, most = supernet.mean.device, supernet.architecture.modules
    to_calibrate, batch = (as_batch(split.images, device) for split in (calibration, images))
    labels = torch.from_numpy(images.labels).to(device)
    larger = list(reversed(supernet.architecture.every_side))
    here = prefix_gates((0,) * len(most), larger.pop(0))
    blocks: list[int] = []
    raises: list[int] = []

    def loss_of(gates: Gates) -> float:
        statistics = calibrate(supernet, gates, to_calibrate)
        return float(F.cross_entropy(supernet(batch, gates, statistics), labels))

    at_once, loss = _at_once(most, rungs), loss_of(here)
    while here.counts != most or larger:
        added = {
            index: min(at_once[index], most[index] - count)
            for index, count in enumerate(here.counts)
            if count < most[index]
        }
        tries = _moves(here, added, larger[:1])
        losses = shared_losses([partial(loss_of, gates) for gates in tries], rank, world)
        costs = [_latency(gates, profile) - _latency(here, profile) for gates in tries]
        best = _steepest([loss - each for each in losses], costs)
        if best < len(added):
            index = list(added)[best]
            blocks += [index] * added[index]
        else:
            raises.append(len(blocks))
            larger.pop(0)
        here, loss = tries[best], losses[best]
        yield Done(len(blocks), sum(most))
    return Ladder(tuple(blocks), tuple(raises))


@torch.no_grad()
def prune_ladder(
    supernet: Supernet,
    profile: Profile,
    images: Split,
    *,
    rungs: int = RUNGS,
    rank: int = 0,
    world: int = 1,
) -> Generator[Done, None, Ladder]:
    """Return a ladder found from its other end, from all modules and the whole image down.

    Of networks that start with published weights: their dense net is good from the first step on, while
    sub-networks with few modules know nothing yet and tell nothing.

    Yields how far it is.

    Greedy: given up are the modules, or the larger image, that raise the loss least for the latency they save. All
    is normalised by the images themselves.

    Args:
        supernet: trained so far.
        profile: of the device whose latency counts.
        images: to take the loss on.
        rungs: about how many there are at most, as in ``find_ladder``.
        rank: this process.
        world: how many processes share the tries; all get the result.
    """
    device, most = supernet.mean.device, supernet.architecture.modules
    batch, labels = as_batch(images.images, device), torch.from_numpy(images.labels).to(device)
    smaller = list(supernet.architecture.sides)
    here = prefix_gates(most)
    blocks: list[int] = []
    raises: list[int] = []

    def inputs(gates: Gates, known: Sequence[Tensor]) -> list[Tensor]:
        """Return what every block sees, L tensors; what the first ones see is known."""
        seen = list(known) or [supernet.through_stem(batch, gates.side)]
        for index in range(len(seen) - 1, len(most) - 1):
            seen.append(supernet.modular_blocks[index](seen[index], gates.active[index], None))
        return seen

    def loss_of(gates: Gates, block: int, x: Tensor) -> float:
        return float(F.cross_entropy(supernet.head(supernet.through_blocks(x, gates, first=block)), labels))

    def loss_of_smaller(gates: Gates) -> float:
        return loss_of(gates, 0, supernet.through_stem(batch, gates.side))

    at_once, seen = _at_once(most, rungs), inputs(here, [])
    loss = loss_of(here, len(most) - 1, seen[-1])
    while any(here.counts) or smaller:
        given_up = {index: -min(at_once[index], count) for index, count in enumerate(here.counts) if count}
        tries = _moves(here, given_up, smaller[:1])
        work = [
            partial(loss_of, gates, block, seen[block]) for block, gates in zip(given_up, tries, strict=False)
        ]
        work += [partial(loss_of_smaller, gates) for gates in tries[len(given_up) :]]
        losses = shared_losses(work, rank, world)
        saved = [max(_latency(here, profile) - _latency(gates, profile), 1e-9) for gates in tries]
        best = int(np.argmin([(each - loss) / ms for each, ms in zip(losses, saved, strict=True)]))
        here, loss = tries[best], losses[best]
        if best < len(given_up):
            index = list(given_up)[best]
            blocks += [index] * -given_up[index]
            seen = inputs(here, seen[: index + 1])
        else:
            raises.append(sum(most) - len(blocks))
            smaller.pop(0)
            seen = inputs(here, [])
        yield Done(len(blocks), sum(most))
    return Ladder(tuple(reversed(blocks)), tuple(reversed(raises)))


def _at_once(most: Sequence[int], rungs: int) -> list[int]:
    """Return how many modules of every block, L numbers, are added or given up together."""
    return [math.ceil(modules * len(most) / rungs) for modules in most]


def _moves(here: Gates, changes: Mapping[int, int], sides: Sequence[int | None]) -> list[Gates]:
    """Return the gates with one block changed, for every change of a block's count, then those with another side."""
    changed = [
        prefix_gates(tuple(n + by * (place == index) for place, n in enumerate(here.counts)), here.side)
        for index, by in changes.items()
    ]
    return changed + [replace(here, side=side) for side in sides]


def shared_losses(losses: Sequence[Callable[[], float]], rank: int, world: int) -> list[float]:
    """Return the losses of all tries, of which every process computes its share."""
    found = torch.zeros(len(losses), dtype=torch.float64)
    for place in range(rank, len(losses), world):
        found[place] = losses[place]()
    if world > 1:
        distributed.all_reduce(found)
    return [float(value) for value in found]


def _latency(gates: Gates, profile: Profile) -> float:
    return profile.latency_at(gates.side).predict_ms(gates.counts)


def _steepest(gains: Sequence[float], costs: Sequence[float]) -> int:
    """Return where the gain for its cost is highest; where nothing gains, the least loss."""
    if max(gains) > 0:
        return int(np.argmax([gain / max(cost, 1e-9) for gain, cost in zip(gains, costs, strict=True)]))
    return int(np.argmax(gains))


def worth_of(blocks: Sequence[int], architecture: Architecture) -> Tensor:
    """Return the log-utilities of all modules, M, falling along a ladder's blocks by an even step, 0 on average."""
    starts = np.cumsum([0, *architecture.modules])
    step = min(np.log(STEP), 2 * (LOGARITHM_RANGE - 1) / max(1, len(blocks) - 1))
    counts, worth = [0] * len(architecture.blocks), torch.zeros(len(blocks))
    for place, block in enumerate(blocks):
        worth[int(starts[block]) + counts[block]] = ((len(blocks) - 1) / 2 - place) * step
        counts[block] += 1
    return worth
