"""Joint training: the assembler chooses the sub-networks that the supernet is trained on, and learns from it.

Forward with hard gates; backward straight through: the factor of every active module is 1, and its gradient
goes to the module's log-utility, centred over the active ones so that they compete.
Legend: K classes, M modules of all blocks together, L blocks.
"""

import math

import numpy as np
import torch
from torch import Tensor

from assembler.cost import cost_of
from assembler.device import Profile
from assembler.model import Assembler
from assembler.search import Caps, search
from assembler.utility import PORTFOLIO, SMALLEST_BUDGET, Array, utilities
from supernet.card import Architecture
from supernet.elastic import SMALLEST_SAMPLED, random_gates
from supernet.gates import Gates, full_gates
from supernet.train import Sample, Sampler, random_task

SMALL_BUDGET = 0.15
NOISE = (0.6, 0.1)
RANDOM_SHARE = 0.1


def joint_sampler(
    assembler: Assembler, architecture: Architecture, profile: Profile, classes: int, *, learning: bool
) -> Sampler:
    """Return the sampler of the joint phase: a small and a random sub-network, chosen for random tasks.

    Args:
        assembler: asked for utilities; where ``learning``, the samples carry gradients to it.
        architecture: of the supernet.
        profile: of the nominal device.
        classes: K.
        learning: whether to explore by noise and learn, or to take what the assembler says.
    """

    def sample(draw: np.random.Generator, progress: float) -> list[Sample]:
        small = math.exp(draw.uniform(math.log(SMALLEST_SAMPLED), math.log(SMALL_BUDGET)))
        any_size = math.exp(draw.uniform(math.log(SMALLEST_SAMPLED), 0.0))
        noise = NOISE[0] + (NOISE[1] - NOISE[0]) * progress if learning else 0.0
        found = []
        for budget in (small, any_size):
            task = random_task(draw, classes)
            if draw.uniform() < RANDOM_SHARE:
                found.append(Sample(random_gates(draw, architecture, budget), task))
            else:
                found.append(_chosen(draw, assembler, architecture, profile, task, budget, noise, learning))
        return found

    return sample


def _chosen(
    draw: np.random.Generator,
    assembler: Assembler,
    architecture: Architecture,
    profile: Profile,
    task: tuple[int, ...],
    budget: float,
    noise: float,
    learning: bool,
) -> Sample:
    asked = torch.zeros(1, len(assembler.saliency))
    asked[0, list(task)] = 1.0
    weight = float(draw.choice(PORTFOLIO))
    with torch.set_grad_enabled(learning):
        base, class_term = assembler(asked, torch.tensor([[max(SMALLEST_BUDGET, budget)]]))
    disturbed = base.detach().numpy()[0] + noise * draw.gumbel(size=base.shape[1]).astype(np.float32)
    gates = choose(
        utilities(disturbed, class_term.detach().numpy()[0], weight), architecture, profile, budget
    )
    strengths = straight_through((base + weight * class_term)[0], gates, architecture) if learning else None
    return Sample(gates, task, strengths)


def choose(values: Array, architecture: Architecture, profile: Profile, budget: float) -> Gates:
    """Return the best gates within a share of the dense net's latency, from utilities M."""
    parts = np.split(values, np.cumsum([block.modules for block in architecture.blocks])[:-1])
    nothing = cost_of(architecture, (0,) * len(parts), 1, profile).latency_ms
    dense = cost_of(architecture, full_gates(architecture).counts, 1, profile).latency_ms
    gates = search(parts, architecture, profile, Caps(latency_ms=nothing + budget * (dense - nothing)), 1)
    return full_gates(architecture) if gates is None else gates


def straight_through(log_utilities: Tensor, gates: Gates, architecture: Architecture) -> list[Tensor]:
    """Return factors of the active modules, L tensors of ones, whose gradients reach the log-utilities M."""
    starts = np.cumsum([0, *(block.modules for block in architecture.blocks)])
    places = [int(start) + m for start, block in zip(starts, gates.active, strict=False) for m in block]
    active = log_utilities[places]
    centred = active - active.mean() if len(places) else active
    factors = 1.0 + centred - centred.detach()
    return list(torch.split(factors, list(gates.counts)))
