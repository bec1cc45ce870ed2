"""Foretell: fit the accuracy predictor on models that were really cut out.

Legend: K classes, L blocks, P pairs of a model and its accuracy.
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
from assembler.images import task_images
from assembler.joint import choose, ladder_within
from assembler.model import Assembler, Predictor, pair_confusion
from assembler.utility import PORTFOLIO, SMALLEST_BUDGET, shares_of, utilities
from supernet.data import DataSet
from supernet.evaluate import logits_of
from supernet.gates import full_gates
from supernet.model import Supernet
from supernet.sampling import random_task, unseen_task
from supernet.task import Kind, Task, outputs_of

UNSEEN_SHARE = 0.2
OTHER_SHARE = 0.25
ANY_SIDE_SHARE = 0.4
GROUPED_SHARE = 0.3
SMALLEST_FORETOLD = 0.005
STEPS = 1500
RATE = 3e-3
DECAY = 1e-3


@dataclass(frozen=True, slots=True)
class Foretold:
    """The predictor, its mean absolute error (0..1) on class sets kept out of training, and how many those were."""

    predictor: Predictor
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
        with torch.no_grad():
            base, class_term = assembler(asked, torch.tensor([[max(SMALLEST_BUDGET, budget)]]))
        weight = float(draw.choice(PORTFOLIO))
        values = utilities(base.numpy()[0], class_term.numpy()[0], weight, architecture.modules)
        side = ladder_within(values, architecture, profile, budget, assembler.raises.tolist()).side
        if draw.uniform() < ANY_SIDE_SHARE:
            side = architecture.every_side[int(draw.integers(len(architecture.every_side)))]
        gates = choose(values, architecture, profile, budget, side)
        other = len(classes) < len(data.classes) and bool(draw.uniform() < OTHER_SHARE)
        task = Task(kind=Kind.CLASSIFICATION, classes=names, other=other)
        images = task_images(outputs_of(task, data.classes, groups), calibration, validation, other=other)
        accuracy = finish(cut(gates, supernet, images), architecture, images).accuracy
        assert accuracy is not None
        shares = shares_of(architecture, gates.counts, gates.side)
        of = np.full(len(data.classes), -1.0)
        of[list(own.rows)] = own.of
        rows.append([float(unseen), accuracy, *asked[0].tolist(), *shares, float(other), *of.tolist()])
        yield Done(index + 1, pairs)
    table = torch.tensor(_gathered(rows, world))
    logits = logits_of(supernet, full_gates(architecture), calibration, validation)
    confusion = pair_confusion(torch.from_numpy(logits), torch.from_numpy(validation.labels))
    return _fit(Predictor(architecture, confusion), table, len(data.classes))


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


def _fit(predictor: Predictor, table: Tensor, classes: int) -> Foretold:
    """Fit on the rows (unseen, accuracy, task K, shares S, other, output of every class K or -1) that are not unseen.

    The error is measured on those that are.
    """
    unseen = table[:, 0] > 0
    widths = [1, 1, classes, predictor.shares, 1, classes]
    _, accuracy, task, shares, other, of = torch.split(table, widths, dim=1)
    together = (of[:, :, None] == of[:, None, :]) & (of[:, :, None] >= 0)
    apart = (~together).float()

    def off(which: Tensor) -> Tensor:
        found: Tensor = predictor(task[which], shares[which], other[which], apart[which])
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
    return Foretold(predictor, float(error), int(unseen.sum()))
