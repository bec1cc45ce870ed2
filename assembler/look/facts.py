"""Look: what people want to see of a checkpoint; gathered by ``examine``, drawn by ``page``.

Loads no torch. Legend: K classes, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assembler.artifact import Predicted
from assembler.nominal import nominal_profile
from assembler.propose import Estimator, Proposal, cost, propose
from assembler.scenario import Limits, Scenario
from assembler.search import Caps
from supernet.card import Card
from supernet.gates import full_gates
from supernet.task import Task

LOOK_FILE = "look.html"
BUDGETS = 12

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image, C x H x W uint8, that the dense net takes for another class than its own."""

    image: npt.NDArray[np.uint8]
    taken_for: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two classes of which the dense net takes one for the other: so many images, and their share of the class."""

    true: int
    taken_for: int
    images: int
    share: float


@dataclass(frozen=True, slots=True)
class Look:
    """A checkpoint as people see it.

    ``confusion`` counts the images that the dense net was tried on, K x K: row the true class, column what it was
    taken for; ``tried_on`` says in words which images these are. ``curve`` goes from the smallest model to the
    dense net, for all classes together on the nominal device. ``mistakes`` holds a few stored images of the worst
    classes; it is None where the checkpoint only names its images.
    """

    card: Card
    tried_on: str
    confusion: Counts
    curve: tuple[Proposal, ...]
    mistakes: Mapping[int, tuple[Mistake, ...]] | None


def accuracy_by_class(confusion: Counts) -> npt.NDArray[np.float64]:
    """Return the share of each class's images that are right, K numbers; NaN where a class has none."""
    images = confusion.sum(axis=1)
    return np.where(images > 0, confusion.diagonal() / np.maximum(images, 1), np.nan)


def worst_classes(confusion: Counts, most: int) -> list[int]:
    """Return up to ``most`` classes of which images are wrong, lowest accuracy first."""
    accuracy = accuracy_by_class(confusion)
    order = np.argsort(accuracy, kind="stable")
    return [int(c) for c in order if accuracy[c] < 1][:most]


def confused_pairs(confusion: Counts, most: int) -> list[Pair]:
    """Return up to ``most`` pairs of classes that are confused, those with the largest share of a class first."""
    images = confusion.sum(axis=1)
    pairs = [
        Pair(int(true), int(other), int(count), float(count / images[true]))
        for (true, other), count in np.ndenumerate(confusion)
        if count and true != other
    ]
    return sorted(pairs, key=lambda pair: (-pair.share, -pair.images))[:most]


def curve_of(estimator: Estimator) -> tuple[Proposal, ...]:
    """Return what is proposed for all classes together within growing latencies, the dense net last.

    Latencies and sizes are those of the nominal device.
    """
    card = estimator.card
    profile = nominal_profile(card.architecture)
    everything = full_gates(card.architecture)
    # A class with a name that no scenario may have can be drawn all the same: nothing is validated.
    scenario = Scenario.model_construct(
        task=Task(kind=card.kind, classes=card.classes), limits=Limits(latency_ms=1.0)
    )
    dense = cost(scenario, card, everything.counts, profile)
    least = cost(scenario, card, (0,) * len(card.architecture.blocks), profile)
    found: dict[object, Proposal] = {}
    for step in range(BUDGETS):
        # Small models differ most.
        share = (step / BUDGETS) ** 2
        caps = Caps(latency_ms=least.latency_ms + share * (dense.latency_ms - least.latency_ms))
        best = next(iter(propose(scenario, estimator, profile, caps)), None)
        if best is not None:
            found[best.gates] = best
    found[everything] = Proposal(
        everything,
        Predicted(
            latency_ms=dense.latency_ms,
            memory_mb=dense.memory_mb,
            size_mb=dense.size_mb,
            accuracy=estimator.accuracy(scenario.task, everything.counts),
        ),
    )
    return tuple(sorted(found.values(), key=lambda proposal: proposal.predicted.latency_ms))
