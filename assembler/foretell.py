"""Foretell: fit the accuracy predictor on models that were really cut out.

Legend: R reference networks, S shares that tell a model's size.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed

from assembler.candidate import cut, finish
from assembler.device import Profile
from assembler.effort import Done
from assembler.images import task_images, to_calibrate
from assembler.joint import choose, ladder_within
from assembler.model import Predictor
from assembler.propose import near_ladder
from assembler.references import References, references_of
from assembler.utility import Array, shares_of
from supernet.card import Architecture
from supernet.data import DataSet
from supernet.evaluate import logits_of
from supernet.gates import Gates, full_gates
from supernet.model import Supernet
from supernet.sampling import random_task, unseen_task
from supernet.task import Kind, Task, outputs_of

UNSEEN_SHARE = 0.2
OTHER_SHARE = 0.25
# How often a model is on any side of the image that could be proposed, not on the ladder's.
NEAR_SHARE = 0.4
GROUPED_SHARE = 0.3
SMALLEST_FORETOLD = 0.005
# Budgets of the networks that are looked at on every task, beside the dense net.
REFERENCE_BUDGETS = (0.3, 0.1, 0.03)
STEPS = 1500
RATE = 3e-3
DECAY = 0.1


@dataclass(frozen=True, slots=True)
class Foretold:
    """The predictor, its mean absolute error (0..1) on class sets kept out of training, and how many those were."""

    predictor: Predictor
    references: References
    error: float
    unseen: int


@dataclass(frozen=True, slots=True)
class BudgetLadder:
    """The networks that follow the budget alone.

    ``utilities`` gives those of all modules for a budget, M; ``raises`` says how many modules are on when the image
    grows, see ``ladder.Ladder``, and is empty where that is not known.
    """

    utilities: Callable[[float], Array]
    raises: tuple[int, ...]

    def within(self, architecture: Architecture, profile: Profile, budget: float) -> Gates:
        """Return the network on the ladder within a budget."""
        return ladder_within(self.utilities(budget), architecture, profile, budget, self.raises)

    def any_near(self, draw: np.random.Generator, architecture: Architecture, profile: Profile) -> Gates:
        """Return the best network within a random budget, as it is served: on the ladder's side, or on one near it."""
        budget = math.exp(draw.uniform(math.log(SMALLEST_FORETOLD), 0.0))
        values = self.utilities(budget)
        found = {
            side: choose(values, architecture, profile, budget, side) for side in architecture.every_side
        }
        near = [gates for gates in found.values() if near_ladder(architecture, self.raises, gates)]
        own = found[ladder_within(values, architecture, profile, budget, self.raises).side]
        if not near or (self.raises and own in near and draw.uniform() > NEAR_SHARE):
            return own
        return near[int(draw.integers(len(near)))]


def foretell(
    supernet: Supernet,
    ladder: BudgetLadder,
    profile: Profile,
    data: DataSet,
    *,
    pairs: int,
    per_class: tuple[int, int],
    seed: int,
    references: References | None = None,
    rank: int = 0,
    world: int = 1,
) -> Generator[Done, None, Foretold]:
    """Cut models out for random tasks and budgets, score them as a request would, and fit the predictor.

    Classes are drawn without regard to how alike they are: which are alike is known from the very images that models
    are scored on, where chance makes those sets harder than they are. Yields how far it is.

    Args:
        supernet: finished.
        ladder: of the finished assembler.
        profile: of the device whose budgets are drawn.
        data: train split to calibrate and fit heads on, val split to score on.
        per_class: how many images of a class to calibrate and fit heads on, and to score on.
        pairs: how many models; a fifth of them are of unseen class sets and only tested on.
        seed: of everything random.
        references: what networks of some sizes say of the images to score on; None asks some of the ladder.
        rank: this process.
        world: how many processes share the work.
    """
    calibration = data.train.balanced(per_class[0], seed)
    validation = data.val.balanced(per_class[1], seed)
    architecture = supernet.architecture
    groups = data.named_groups
    if references is None:
        networks = [ladder.within(architecture, profile, budget) for budget in REFERENCE_BUDGETS]
        few = to_calibrate(calibration)
        references = references_of(
            [logits_of(supernet, gates, few, validation) for gates in (full_gates(architecture), *networks)],
            validation.labels,
        )
    rows: list[list[float]] = []
    for index in range(rank, pairs, world):
        draw = np.random.default_rng((seed, 4, index))
        unseen = index < UNSEEN_SHARE * pairs
        classes = (unseen_task if unseen else random_task)(draw, len(data.classes))
        names = tuple(data.classes[c] for c in classes)
        if groups and draw.uniform() < GROUPED_SHARE:
            names = grouped(draw, classes, data.classes, groups)
        own = outputs_of(Task(kind=Kind.CLASSIFICATION, classes=names), data.classes, groups)
        gates = ladder.any_near(draw, architecture, profile)
        other = len(own.rows) < len(data.classes) and bool(draw.uniform() < OTHER_SHARE)
        task = Task(kind=Kind.CLASSIFICATION, classes=names, other=other)
        outputs = outputs_of(task, data.classes, groups)
        images = task_images(outputs, calibration, validation, other=other)
        accuracy = finish(cut(gates, supernet, images), architecture, images).accuracy
        assert accuracy is not None
        shares = shares_of(architecture, gates.counts, gates.side)
        fare = references.fare(outputs, other=other).tolist()
        rows.append([float(unseen), accuracy, *fare, float(outputs.count), *shares])
        yield Done(index + 1, pairs)
    predictor = Predictor(architecture, references.networks)
    error, count = _fit(predictor, torch.tensor(_gathered(rows, world)))
    return Foretold(predictor, references, error, count)


def grouped(
    draw: np.random.Generator,
    classes: Sequence[int],
    names: Sequence[str],
    groups: Mapping[str, tuple[int, ...]],
) -> tuple[str, ...]:
    """Return names to ask for: of some classes, or, for about half of them, of the groups that they are in.

    There are two at least.
    """
    group_of = {c: name for name, members in groups.items() for c in members}
    chosen = {group_of[c]: None for c in classes if c in group_of and draw.uniform() < 0.5}
    found = (*chosen, *(names[c] for c in classes if group_of.get(c) not in chosen))
    return found if len(found) > 1 else tuple(names[c] for c in classes)


def _gathered(rows: list[list[float]], world: int) -> list[list[float]]:
    if world == 1:
        return rows
    parts: list[list[list[float]]] = [[] for _ in range(world)]
    distributed.all_gather_object(parts, rows)
    return [row for part in parts for row in part]


def _fit(predictor: Predictor, table: Tensor) -> tuple[float, int]:
    """Fit on the rows (unseen, accuracy, fare 2 R, outputs, shares S) that are not unseen.

    Return the mean absolute error on those that are, and how many these are.
    """
    unseen = table[:, 0] > 0
    _, accuracy, *facts = torch.split(table, [1, 1, 2 * predictor.references, 1, predictor.shares], dim=1)

    def off(which: Tensor) -> Tensor:
        found: Tensor = predictor(*(fact[which] for fact in facts))
        difference: Tensor = (found - accuracy[which]).abs().mean()
        return difference

    torch.manual_seed(0)
    for layer in (predictor.task, predictor.size, predictor.hidden, predictor.last):
        layer.reset_parameters()
    solver = torch.optim.AdamW(predictor.parameters(), lr=RATE, weight_decay=DECAY)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(solver, STEPS)
    for _ in range(STEPS):
        solver.zero_grad()
        loss = off(~unseen)
        loss.backward()  # type: ignore[no-untyped-call]
        solver.step()
        pace.step()
    with torch.no_grad():
        error = off(unseen)
    return float(error), int(unseen.sum())
