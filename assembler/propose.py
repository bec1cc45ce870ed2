"""Propose: which Gates a scenario leads to, and what they are predicted to give; without torch.

The same proposals that a check predicts are the ones that ``assemble`` cuts out.
Legend: K classes of the supernet, M modules of all blocks together, L blocks.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from assembler.artifact import Predicted
from assembler.cost import Cost, cost_of, macs, merge_bytes
from assembler.device import Profile
from assembler.manifest import metadata_bytes
from assembler.pieces import Pieces
from assembler.references import read_references
from assembler.scenario import Limits, Scenario
from assembler.search import Caps, most_useful, search
from assembler.session import single_threaded
from assembler.utility import SMALLEST_BUDGET, Array, shares_of, side_of, utilities
from supernet.card import Architecture, Card
from supernet.gates import Gates, full_gates
from supernet.task import Task

# Fewer networks are compared where they are large.
FEWEST_COMPARED, COMPARED_MACS = 3, 1.5e8
ASKED_TOGETHER = 32
# Networks of more than this share of the dense net's cost have nearly the same modules for every task.
HARDLY_ANY_CHOICE = 0.5


@dataclass(frozen=True, slots=True)
class Proposal:
    """A Candidate before it exists: Gates and predicted figures."""

    gates: Gates
    predicted: Predicted


Portfolio = tuple[Proposal, ...]


class Estimator:
    """Assembler and accuracy predictor of one checkpoint, run by onnxruntime; safe to share between threads.

    ``checkpoint`` is its folder, or its files by name where they are not written yet.
    """

    def __init__(self, checkpoint: Path | Mapping[str, bytes], card: Card, pieces: Pieces = Pieces()) -> None:
        self.card = card
        self.pieces = pieces
        assembler, predictor, references = (
            (checkpoint / name).read_bytes() if isinstance(checkpoint, Path) else checkpoint[name]
            for name in ("assembler.onnx", "predictor.onnx", "references.npz")
        )
        self._assembler, self._predictor = single_threaded(assembler), single_threaded(predictor)
        # A task is asked about at every side of the image.
        self._fare = lru_cache(ASKED_TOGETHER)(read_references(io.BytesIO(references)).fare)

    def _asked(self, rows: Sequence[int]) -> Array:
        asked = np.zeros((1, len(self.card.classes)), np.float32)
        asked[0, list(rows)] = 1.0
        return asked

    def utilities(
        self, classes: Sequence[int], budget: float, weights: Sequence[float] | None = None
    ) -> list[list[Array]]:
        """Return the utilities of the modules of each block (L arrays) for every weight of the class term.

        Args:
            classes: of the task, by index.
            budget: share of the dense net's cost, kept within 0.02..1.
            weights: of the class term, by default those of the pieces.
        """
        level = np.array([[min(1.0, max(SMALLEST_BUDGET, budget))]], np.float32)
        base, class_term = self._assembler.run(
            ["base", "class_term"], {"task": self._asked(classes), "budget": level}
        )
        wanted = self.pieces.weights if weights is None else weights
        modules = self.card.architecture.modules
        ends = np.cumsum(modules)[:-1]
        return [np.split(utilities(base[0], class_term[0], weight, modules), ends) for weight in wanted]

    def accuracy(self, task: Task, counts: Sequence[int], side: int | None = None) -> float:
        """Return the predicted accuracy, 0..1, of a model with so many modules on in each block.

        Args:
            task: its names are the Card's.
            counts: modules on, L numbers.
            side: what the image is shrunk to, px; None leaves it.
        """
        if len(task.classes) == 1 and not task.other:
            return 1.0
        own = self.card.outputs(task)
        asked = {
            "fare": self._fare(own, other=task.other)[None],
            "outputs": np.array([[own.count]], np.float32),
            "shares": np.array([shares_of(self.card.architecture, counts, side)], np.float32),
        }
        (accuracy,) = self._predictor.run(["accuracy"], asked)
        return float(accuracy[0, 0])


def caps_of(limits: Limits) -> Caps:
    """Return the limits that the search keeps to."""
    return Caps(latency_ms=limits.latency_ms, memory_mb=limits.memory_mb, size_mb=limits.size_mb)


def bytes_beside(scenario: Scenario, card: Card) -> int:
    """Return the bytes of the file that no choice of modules changes: its strings and what gathers its outputs."""
    outputs = card.outputs(scenario.task)
    merging = 0 if outputs.merged is None else merge_bytes(len(outputs.rows), outputs.count)
    return metadata_bytes(scenario, card) + merging


def cost(
    scenario: Scenario, card: Card, counts: Sequence[int], profile: Profile, side: int | None = None
) -> Cost:
    """Return the Cost of a scenario's model with so many modules on in each block and its image shrunk to a side."""
    rows = len(card.outputs(scenario.task).rows)
    beside = bytes_beside(scenario, card)
    return cost_of(card.architecture.at(side), counts, rows, profile.at(side), metadata_bytes=beside)


def least_cost(scenario: Scenario, card: Card, profile: Profile) -> Cost:
    """Return the Cost of a scenario's cheapest model, without any module, at the side that suits its limits best."""
    nothing = (0,) * len(card.architecture.blocks)
    limits = scenario.limits.requested

    def excess(least: Cost) -> float:
        figures = {"latency_ms": least.latency_ms, "memory_mb": least.memory_mb, "size_mb": least.size_mb}
        return max((figures[name] / limit for name, limit in limits.items() if name in figures), default=0.0)

    return min(
        (cost(scenario, card, nothing, profile, side) for side in card.architecture.every_side), key=excess
    )


def budget_of(caps: Caps, scenario: Scenario, card: Card, profile: Profile, side: int | None = None) -> float:
    """Return the share of the dense net's cost, at a side, that the tightest cap leaves, 0..1."""
    dense = cost(scenario, card, full_gates(card.architecture).counts, profile, side)
    least = cost(scenario, card, (0,) * len(card.architecture.blocks), profile, side)
    shares = [1.0]
    if caps.latency_ms is not None and dense.latency_ms > least.latency_ms:
        allowed = caps.latency_ms / (1 + profile.latency.margin)
        shares.append((allowed - least.latency_ms) / (dense.latency_ms - least.latency_ms))
    if caps.size_mb is not None and dense.size_mb > least.size_mb:
        shares.append((caps.size_mb - least.size_mb) / (dense.size_mb - least.size_mb))
    if caps.memory_mb is not None and dense.memory_mb > least.memory_mb:
        allowed = caps.memory_mb / (1 + profile.memory.margin)
        shares.append((allowed - least.memory_mb) / (dense.memory_mb - least.memory_mb))
    return max(0.0, min(shares))


def propose(
    scenario: Scenario, estimator: Estimator, profile: Profile, caps: Caps | None = None
) -> tuple[Proposal, ...]:
    """Return the different Gates that the portfolio gives; empty if nothing fits.

    The first of every side that sub-networks of its size were trained at come first, best predicted accuracy first;
    those of the best side with other weights of the class term follow.

    Args:
        scenario: resolved, all its classes are in the estimator's Card.
        estimator: of the checkpoint.
        profile: of the device.
        caps: instead of the scenario's limits.
    """
    kept = caps_of(scenario.limits) if caps is None else caps
    return in_order(portfolios(scenario, estimator, profile, kept), estimator.pieces)


def portfolios(scenario: Scenario, estimator: Estimator, profile: Profile, caps: Caps) -> list[Portfolio]:
    """Return the Portfolio of every side that sub-networks of its size were trained at; empty if nothing fits.

    Args:
        scenario: as ``propose`` takes it, like ``estimator`` and ``profile``.
        estimator: likewise.
        profile: likewise.
        caps: the limits.
    """
    card = estimator.card
    found = [
        mine
        for side in (card.architecture.every_side if estimator.pieces.sides else (None,))
        if (mine := portfolio(scenario, estimator, profile, caps, side))
    ]
    # What was hardly trained at a side is worse than any predictor knows that never falls with more modules.
    return [mine for mine in found if near_ladder(card.architecture, card.raises, mine[0].gates)] or found


def in_order(found: Sequence[Portfolio], pieces: Pieces = Pieces()) -> Portfolio:
    """Return the first proposal of every side, best predicted accuracy first, then the others of the best side.

    Args:
        found: of every side, the largest image first.
        pieces: without the predictor, the order of the sides stays.
    """
    ordered = sorted(found, key=lambda mine: -mine[0].predicted.accuracy if pieces.predictor else 0.0)
    return (*(mine[0] for mine in ordered), *(ordered[0][1:] if ordered else ()))


def near_ladder(architecture: Architecture, raises: Sequence[int], gates: Gates) -> bool:
    """Return whether the image's side is one that sub-networks of about so many modules were trained at.

    That is the side that it has on the ladder, or one next to it; any where it is not known.

    Args:
        architecture: of the supernet.
        raises: how many modules are on when the image grows, see ``ladder.Ladder``; none where it is not known.
        gates: of the sub-network.
    """
    if not raises:
        return True
    sides = architecture.every_side
    own = side_of(raises, gates.size, architecture)
    return abs(sides.index(own) - sides.index(gates.side)) <= 1


def affordable(proposals: tuple[Proposal, ...], architecture: Architecture) -> tuple[Proposal, ...]:
    """Return as many of the proposals, the first ones, as can be cut out and compared in a short time."""
    if not proposals:
        return ()
    gates = proposals[0].gates
    work = macs(architecture.at(gates.side), gates.counts, 1)
    return proposals[: max(FEWEST_COMPARED, int(COMPARED_MACS / work))]


def portfolio(
    scenario: Scenario,
    estimator: Estimator,
    profile: Profile,
    caps: Caps,
    side: int | None,
) -> Portfolio:
    """Return the different Gates that all weights of the class term give at one side, of one shape; empty if none fits.

    Args:
        scenario: as ``propose`` takes it, like ``estimator`` and ``profile``.
        estimator: likewise.
        profile: likewise.
        caps: the limits.
        side: what the image is shrunk to, px; None leaves it.
    """
    card = estimator.card
    budget = budget_of(caps, scenario, card, profile, side)
    # The task decides which modules of a block are on, never how many: one search serves all weights.
    weights = estimator.pieces.weights[: 1 if budget > HARDLY_ANY_CHOICE else None]
    task = scenario.task.model_copy(update={"other": False})
    portfolio = estimator.utilities(card.outputs(task).rows, budget, weights)
    first = search(
        portfolio[0],
        card.architecture.at(side),
        profile.at(side),
        caps,
        len(card.outputs(scenario.task).rows),
        metadata_bytes=bytes_beside(scenario, card),
    )
    if first is None:
        return ()
    expected = cost(scenario, card, first.counts, profile, side)
    predicted = _predicted(expected, estimator.accuracy(scenario.task, first.counts, side))
    gates = dict.fromkeys((first, *(most_useful(values, first.counts) for values in portfolio[1:])))
    return tuple(Proposal(replace(each, side=side), predicted) for each in gates)


def _predicted(cost: Cost, accuracy: float) -> Predicted:
    return Predicted(
        latency_ms=cost.latency_ms, memory_mb=cost.memory_mb, size_mb=cost.size_mb, accuracy=accuracy
    )
