"""Random sub-networks for the elastic phase of training, before there is an assembler."""

import math
from dataclasses import replace

import numpy as np

from supernet.card import Architecture
from supernet.gates import Gates
from supernet.sampling import Closeness, random_task
from supernet.shapes import module_macs
from supernet.train import Sample, Sampler

SMALLEST_SAMPLED = 0.03


def random_budget(draw: np.random.Generator) -> float:
    """Return a share of the full net, log-uniform from 3 % to 100 %."""
    return math.exp(draw.uniform(math.log(SMALLEST_SAMPLED), 0.0))


def random_gates(draw: np.random.Generator, architecture: Architecture, budget: float) -> Gates:
    """Return gates that use at most a share ``budget`` of all modules' multiply-accumulates.

    Modules are taken in a random order over the blocks. Within a block the first ones are preferred,
    by a random degree, so that small networks share a core while every combination occurs.
    """
    macs = module_macs(architecture)
    left = budget * sum(m * block.modules for m, block in zip(macs, architecture.blocks, strict=True))
    noise = draw.choice([0.0, 0.15, 1.0])
    keys, places = [], []
    for index, block in enumerate(architecture.blocks):
        lean = draw.normal(0.0, 0.25)
        for module in range(block.modules):
            rank = (module + draw.uniform()) / block.modules
            keys.append(rank + lean + noise * draw.normal())
            places.append((index, module))
    active: list[list[int]] = [[] for _ in architecture.blocks]
    for place in np.argsort(keys):
        index, module = places[place]
        if macs[index] <= left:
            left -= macs[index]
            active[index].append(module)
    return Gates(tuple(tuple(sorted(block)) for block in active))


def random_side(draw: np.random.Generator, architecture: Architecture) -> int | None:
    """Return a side to shrink the image to, or as often None for the whole one."""
    if not architecture.sides or draw.uniform() < 0.5:
        return None
    return int(draw.choice(architecture.sides))


def elastic_sampler(architecture: Architecture, classes: int, closeness: Closeness | None = None) -> Sampler:
    """Return the sampler of the elastic phase: a small and a random sub-network, on a random task.

    Args:
        architecture: of the supernet.
        classes: K.
        closeness: of every class to every other, K x K.
    """

    def sample(draw: np.random.Generator, progress: float) -> list[Sample]:
        everything, task = tuple(range(classes)), random_task(draw, classes, closeness)
        budgets = (math.exp(draw.uniform(math.log(SMALLEST_SAMPLED), math.log(0.12))), random_budget(draw))
        tasks = [everything if draw.uniform() < 0.3 else task for _ in budgets]
        return [
            Sample(
                replace(random_gates(draw, architecture, budget), side=random_side(draw, architecture)), task
            )
            for budget, task in zip(budgets, tasks, strict=True)
        ]

    return sample
