"""Foretell: fit the accuracy predictor on models that were really cut out.

Legend: R reference networks, S shares that tell a model's size.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed

from assembler.candidate import cut, finish
from assembler.device import Profile
from assembler.effort import Done
from assembler.images import task_images, to_calibrate
from assembler.joint import choose, ladder_within
from assembler.model import Assembler, Predictor
from assembler.references import References, references_of
from assembler.utility import PORTFOLIO, SMALLEST_BUDGET, Array, shares_of, utilities
from supernet.data import DataSet
from supernet.evaluate import logits_of
from supernet.gates import Gates, full_gates
from supernet.model import Supernet
from supernet.sampling import random_task, unseen_task
from supernet.task import Kind, Task, outputs_of

UNSEEN_SHARE = 0.2
OTHER_SHARE = 0.25
ANY_SIDE_SHARE = 0.4
GROUPED_SHARE = 0.3
SMALLEST_FORETOLD = 0.005
# Budgets of the networks that are looked at on every task; the first one is the dense net's.
REFERENCE_BUDGETS = (1.0, 0.3, 0.1, 0.03)
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


def foretell(
    supernet: Supernet,
    assembler: Assembler,
    profile: Profile,
    data: DataSet,
    *,
    pairs: int,
    per_class: tuple[int, int],
    seed: int,
    rank: int = 0,
    world: int = 1,
) -> Generator[Done, None, Foretold]:
    """Cut models out for random tasks and budgets, score them as a request would, and fit the predictor.

    Yields how far it is.

    Args:
        supernet: finished.
        assembler: finished.
        profile: of the device whose budgets are drawn.
        data: train split to calibrate and fit heads on, val split to score on.
        per_class: how many images of a class to calibrate and fit heads on, and to score on.
        pairs: how many models; a fifth of them are of unseen class sets and only tested on.
        seed: of everything random.
        rank: this process.
        world: how many processes share the work.
    """
    calibration = data.train.balanced(per_class[0], seed)
    validation = data.val.balanced(per_class[1], seed)
    architecture = supernet.architecture
    closeness, groups = assembler.closeness.numpy(), data.named_groups
    everything = torch.ones(1, len(data.classes))

    def within(budget: float, task: Tensor, weight: float) -> tuple[Array, Gates]:
        """Return the utilities for a budget and a task, and the network of the ladder that they give."""
        with torch.no_grad():
            base, class_term = assembler(task, torch.tensor([[max(SMALLEST_BUDGET, budget)]]))
        values = utilities(base.numpy()[0], class_term.numpy()[0], weight, architecture.modules)
        return values, ladder_within(values, architecture, profile, budget, assembler.raises.tolist())

    networks = [full_gates(architecture)]
    networks += [within(budget, everything, 0.0)[1] for budget in REFERENCE_BUDGETS[1:]]
    few = to_calibrate(calibration)
    logits = [logits_of(supernet, gates, few, validation) for gates in networks]
    references = references_of(logits, validation.labels)
    rows: list[list[float]] = []
    for index in range(rank, pairs, world):
        draw = np.random.default_rng((seed, 4, index))
        unseen = index < UNSEEN_SHARE * pairs
        classes = (unseen_task if unseen else random_task)(draw, len(data.classes), closeness)
        names = tuple(data.classes[c] for c in classes)
        if groups and draw.uniform() < GROUPED_SHARE:
            names = grouped(draw, classes, data.classes, groups)
        own = outputs_of(Task(kind=Kind.CLASSIFICATION, classes=names), data.classes, groups)
        classes = tuple(sorted(own.rows))
        asked = torch.zeros(1, len(data.classes))
        asked[0, list(classes)] = 1.0
        budget = math.exp(draw.uniform(math.log(SMALLEST_FORETOLD), 0.0))
        values, on_ladder = within(budget, asked, float(draw.choice(PORTFOLIO)))
        side = on_ladder.side
        if draw.uniform() < ANY_SIDE_SHARE:
            side = architecture.every_side[int(draw.integers(len(architecture.every_side)))]
        gates = choose(values, architecture, profile, budget, side)
        other = len(classes) < len(data.classes) and bool(draw.uniform() < OTHER_SHARE)
        task = Task(kind=Kind.CLASSIFICATION, classes=names, other=other)
        images = task_images(outputs_of(task, data.classes, groups), calibration, validation, other=other)
        accuracy = finish(cut(gates, supernet, images), architecture, images).accuracy
        assert accuracy is not None
        shares = shares_of(architecture, gates.counts, gates.side)
        fare = references.fare(own).tolist()
        rows.append([float(unseen), accuracy, *fare, float(own.count), float(other), *shares])
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
    """Fit on the rows (unseen, accuracy, fare 2 R, outputs, other, shares S) that are not unseen.

    Return the mean absolute error on those that are, and how many these are.
    """
    unseen = table[:, 0] > 0
    _, accuracy, *facts = torch.split(table, [1, 1, 2 * predictor.references, 1, 1, predictor.shares], dim=1)

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
