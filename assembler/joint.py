"""Joint training: the assembler chooses the sub-networks that the supernet is trained on, and learns from it.

Forward with hard gates; backward straight through: the factor of every active module is 1, and its gradient
goes to the module's log-utility, centred over the active ones so that they compete.
Legend: K classes, M modules of all blocks together, L blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from assembler.device import Profile
from assembler.model import Assembler
from assembler.search import Caps, search
from assembler.utility import PORTFOLIO, SMALLEST_BUDGET, Array, side_of, utilities
from supernet.card import Architecture
from supernet.gates import Gates, full_gates
from supernet.sampling import Closeness, random_task
from supernet.train import Sample, Sampler

# Budgets, from and to; each gives a sub-network a step.
BUDGETS = ((0.005, 0.1), (0.05, 0.4), (0.02, 1.0))
NOISE = (0.6, 0.1)
# How often a sub-network follows the budget alone, how often one stays on the ladder, and how often the image of one
# that does not may be a side larger or smaller than on the ladder.
GENERAL_SHARE = 0.5
LADDER_SHARE = 0.5
OTHER_SIDE_SHARE = 0.5


def joint_sampler(
    assembler: Assembler,
    architecture: Architecture,
    profile: Profile,
    classes: int,
    closeness: Closeness | None = None,
    *,
    learning: bool,
    general_share: float = GENERAL_SHARE,
    exploration: tuple[float, float] = NOISE,
) -> Sampler:
    """Return the sampler of the joint phase: a small, a middling and any sub-network.

    A share of them follow the budget alone and are for all classes, the others are chosen for the step's random task.

    Args:
        assembler: asked for utilities; where ``learning``, the samples carry gradients to it.
        architecture: of the supernet.
        profile: of the nominal device.
        classes: K.
        closeness: of every class to every other, K x K.
        learning: whether to explore by noise and learn, or to take what the assembler says.
        general_share: how many are for all classes.
        exploration: how strong the noise is at the start and at the end.
    """
    start, end = exploration

    def sample(draw: np.random.Generator, progress: float) -> list[Sample]:
        noise = start + (end - start) * progress if learning else 0.0
        found, step_task = [], random_task(draw, classes, closeness)
        for low, high in BUDGETS:
            budget = math.exp(draw.uniform(math.log(low), math.log(high)))
            if draw.uniform() < general_share:
                task, weight = tuple(range(classes)), 0.0
            else:
                task, weight = step_task, float(draw.choice(PORTFOLIO[1:]))
            found.append(
                _chosen(draw, assembler, architecture, profile, task, weight, budget, noise, learning)
            )
        return found

    return sample


def _chosen(
    draw: np.random.Generator,
    assembler: Assembler,
    architecture: Architecture,
    profile: Profile,
    task: tuple[int, ...],
    weight: float,
    budget: float,
    noise: float,
    learning: bool,
) -> Sample:
    asked = torch.zeros(1, len(assembler.saliency))
    asked[0, list(task)] = 1.0
    with torch.set_grad_enabled(learning):
        base, class_term = assembler(asked, torch.tensor([[max(SMALLEST_BUDGET, budget)]]))
    disturbed = class_term.detach().numpy()[0]
    disturbed = disturbed + noise * assembler.mask.numpy() * draw.gumbel(size=len(disturbed)).astype(
        np.float32
    )
    values = utilities(base.detach().numpy()[0], disturbed, weight, architecture.modules)
    on_ladder = ladder_within(values, architecture, profile, budget, assembler.raises.tolist())
    if draw.uniform() < LADDER_SHARE:
        gates = on_ladder
    else:
        side = on_ladder.side
        if architecture.sides and draw.uniform() < OTHER_SIDE_SHARE:
            side = side_near(draw, architecture, profile, budget, side)
        gates = choose(values, architecture, profile, budget, side)
    strengths = straight_through((base + weight * class_term)[0], gates, architecture) if learning else None
    return Sample(gates, task, strengths)


def allowed_ms(architecture: Architecture, profile: Profile, budget: float) -> float:
    """Return the latency of a budget: a share of what the dense net costs above the cheapest net."""
    least = profile.latency_at(architecture.every_side[-1]).predict_ms((0,) * len(architecture.blocks))
    return least + budget * (profile.latency.predict_ms(full_gates(architecture).counts) - least)


def side_near(
    draw: np.random.Generator, architecture: Architecture, profile: Profile, budget: float, side: int | None
) -> int | None:
    """Return a side, the next larger one or the next smaller one, of those at which a net keeps to a budget.

    Args:
        draw: picks.
        architecture: of the supernet.
        profile: of the device.
        budget: see ``allowed_ms``.
        side: px, None for the whole image; it is returned where no net keeps to the budget.
    """
    nothing, allowed = (0,) * len(architecture.blocks), allowed_ms(architecture, profile, budget)
    place = architecture.every_side.index(side)
    within = [
        near
        for near in architecture.every_side[max(0, place - 1) : place + 2]
        if profile.latency_at(near).predict_ms(nothing) < allowed * (1 + 1e-9)
    ]
    return within[int(draw.integers(len(within)))] if within else side


def ladder_within(
    values: Array, architecture: Architecture, profile: Profile, budget: float, raises: Sequence[int]
) -> Gates:
    """Return the modules of most utility, one after the other until the next does not fit a budget.

    Args:
        values: utilities, M.
        architecture: of the supernet.
        profile: of the device.
        budget: see ``allowed_ms``.
        raises: how many modules are on when the image grows, see ``ladder.Ladder``.
    """
    block_of = np.repeat(np.arange(len(architecture.blocks)), architecture.modules)
    starts = np.cumsum([0, *architecture.modules])
    allowed = allowed_ms(architecture, profile, budget) * (1 + 1e-9)
    counts, active = [0] * len(architecture.blocks), [list[int]() for _ in architecture.blocks]
    side = side_of(raises, -1, architecture)
    order = np.argsort(-values, kind="stable")
    for modules in range(len(order) + 1):
        raised = side_of(raises, modules, architecture)
        if profile.latency_at(raised).predict_ms(counts) > allowed:
            break
        side = raised
        if modules == len(order):
            break
        block = int(block_of[order[modules]])
        counts[block] += 1
        if profile.latency_at(side).predict_ms(counts) > allowed:
            break
        active[block].append(int(order[modules] - starts[block]))
    return Gates(tuple(tuple(sorted(block)) for block in active), side)


def choose(
    values: Array, architecture: Architecture, profile: Profile, budget: float, side: int | None = None
) -> Gates:
    """Return the best gates within a budget, the image shrunk to a side.

    Args:
        values: utilities, M.
        architecture: of the supernet.
        profile: of the device.
        budget: see ``allowed_ms``; where it leaves no net at all, the one without modules is returned.
        side: px; None is the whole image.
    """
    parts = np.split(values, np.cumsum(architecture.modules)[:-1])
    caps = Caps(latency_ms=allowed_ms(architecture, profile, budget))
    gates = search(parts, architecture.at(side), profile.at(side), caps, 1)
    return replace(gates or Gates(((),) * len(parts)), side=side)


def straight_through(log_utilities: Tensor, gates: Gates, architecture: Architecture) -> list[Tensor]:
    """Return factors of the active modules, L tensors of ones, whose gradients reach the log-utilities M."""
    starts = np.cumsum([0, *(block.modules for block in architecture.blocks)])
    places = [int(start) + m for start, block in zip(starts, gates.active, strict=False) for m in block]
    active = log_utilities[places]
    centred = active - active.mean() if len(places) else active
    factors = 1.0 + centred - centred.detach()
    return list(torch.split(factors, list(gates.counts)))
