"""Estimate: what a scenario would give, without cutting anything and without torch.

The same proposals that are predicted here are the ones ``assemble`` cuts out.
Legend: K classes of the supernet, M modules of all blocks together, L blocks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from assembler.artifact import Change, Diagnosis, Estimate, Predicted
from assembler.cost import Cost, cost_of
from assembler.device import Profile
from assembler.manifest import metadata_bytes
from assembler.scenario import Limits, Scenario
from assembler.search import Caps, search
from supernet.card import Card
from supernet.gates import Gates, full_gates

PORTFOLIO = (0.0, 0.5, 1.0)
SMALLEST_BUDGET = 0.02
LOGARITHM_RANGE = 6.0
WIDENINGS = 16
MEASURED_RESERVE = 0.1
RESERVES = {"latency_ms": 0.1, "memory_mb": 0.05}

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A Candidate before it exists: Gates, predicted figures, and the weight its class term had."""

    gates: Gates
    predicted: Predicted
    class_weight: float


class Estimator:
    """Assembler and accuracy predictor of one checkpoint, run by onnxruntime; safe to share between threads."""

    def __init__(self, folder: Path, card: Card) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self.card = card
        self._assembler = onnxruntime.InferenceSession(str(folder / "assembler.onnx"), options, providers)
        self._predictor = onnxruntime.InferenceSession(str(folder / "predictor.onnx"), options, providers)

    def _task(self, classes: Sequence[str]) -> Array:
        task = np.zeros((1, len(self.card.classes)), np.float32)
        task[0, [self.card.classes.index(name) for name in classes]] = 1.0
        return task

    def utilities(
        self, classes: Sequence[str], budget: float, weights: Sequence[float] = PORTFOLIO
    ) -> list[list[Array]]:
        """Return the utilities of the modules of each block (L arrays) for every weight of the class term.

        Args:
            classes: names out of the Card's vocabulary.
            budget: share of the dense net's cost, kept within 0.02..1.
            weights: of the class term.
        """
        level = np.array([[min(1.0, max(SMALLEST_BUDGET, budget))]], np.float32)
        base, class_term = self._assembler.run(
            ["base", "class_term"], {"task": self._task(classes), "budget": level}
        )
        ends = np.cumsum([block.modules for block in self.card.architecture.blocks])[:-1]
        found = []
        for weight in weights:
            logarithm = np.clip(base[0] + weight * class_term[0], -LOGARITHM_RANGE, LOGARITHM_RANGE)
            found.append(np.split(np.exp(logarithm), ends))
        return found

    def accuracy(self, classes: Sequence[str], counts: Sequence[int]) -> float:
        """Return the predicted accuracy, 0..1, of a model with so many modules on in each block."""
        blocks = self.card.architecture.blocks
        shares = np.array([[n / b.modules for n, b in zip(counts, blocks, strict=True)]], np.float32)
        (accuracy,) = self._predictor.run(["accuracy"], {"task": self._task(classes), "shares": shares})
        return float(accuracy[0, 0])


def caps_of(limits: Limits) -> Caps:
    """Return the limits that the search keeps to."""
    return Caps(latency_ms=limits.latency_ms, memory_mb=limits.memory_mb, size_mb=limits.size_mb)


def outputs_of(scenario: Scenario) -> int:
    """Return how many outputs the model has."""
    return len(scenario.task.classes) + int(scenario.task.other)


def cost(scenario: Scenario, card: Card, counts: Sequence[int], profile: Profile) -> Cost:
    """Return the Cost of a scenario's model with so many modules on in each block."""
    strings = metadata_bytes(scenario, card)
    return cost_of(card.architecture, counts, outputs_of(scenario), profile, metadata_bytes=strings)


def least_cost(scenario: Scenario, card: Card, profile: Profile) -> Cost:
    """Return the Cost of a scenario's cheapest model, the one without any module."""
    return cost(scenario, card, (0,) * len(card.architecture.blocks), profile)


def budget_of(caps: Caps, scenario: Scenario, card: Card, profile: Profile) -> float:
    """Return the share of the dense net's cost that the tightest cap leaves, 0..1."""
    dense = cost(scenario, card, full_gates(card.architecture).counts, profile)
    least = least_cost(scenario, card, profile)
    shares = [1.0]
    if caps.latency_ms is not None:
        shares.append(caps.latency_ms / (dense.latency_ms * (1 + profile.latency.margin)))
    if caps.size_mb is not None and dense.size_mb > least.size_mb:
        shares.append((caps.size_mb - least.size_mb) / (dense.size_mb - least.size_mb))
    if caps.memory_mb is not None and dense.memory_mb > least.memory_mb:
        allowed = caps.memory_mb / (1 + profile.memory.margin)
        shares.append((allowed - least.memory_mb) / (dense.memory_mb - least.memory_mb))
    return max(0.0, min(shares))


def propose(
    scenario: Scenario, estimator: Estimator, profile: Profile, caps: Caps | None = None
) -> tuple[Proposal, ...]:
    """Return the different Gates that the portfolio gives, best predicted accuracy first; empty if nothing fits.

    Args:
        scenario: resolved, all its classes are in the estimator's Card.
        estimator: of the checkpoint.
        profile: of the device.
        caps: instead of the scenario's limits.
    """
    card = estimator.card
    kept = caps_of(scenario.limits) if caps is None else caps
    budget = budget_of(kept, scenario, card, profile)
    classes, outputs, strings = scenario.task.classes, outputs_of(scenario), metadata_bytes(scenario, card)
    found: dict[Gates, Proposal] = {}
    for weight, values in zip(PORTFOLIO, estimator.utilities(classes, budget), strict=True):
        gates = search(values, card.architecture, profile, kept, outputs, metadata_bytes=strings)
        if gates is not None and gates not in found:
            expected = cost(scenario, card, gates.counts, profile)
            accuracy = estimator.accuracy(classes, gates.counts)
            found[gates] = Proposal(gates, _predicted(expected, accuracy), weight)
    return tuple(sorted(found.values(), key=lambda proposal: -proposal.predicted.accuracy))


def estimate(scenario: Scenario, card: Card, estimator: Estimator, profile: Profile) -> Estimate:
    """Return the predicted figures of a scenario, or why it cannot be met and what comes nearest."""
    diagnosis = diagnose(scenario, card, estimator, profile)
    if diagnosis is not None:
        return Estimate(feasible=False, predicted=None, diagnosis=diagnosis)
    best = propose(scenario, estimator, profile)[0]
    return Estimate(feasible=True, predicted=best.predicted, diagnosis=None)


def diagnose(scenario: Scenario, card: Card, estimator: Estimator, profile: Profile) -> Diagnosis | None:
    """Return why a scenario cannot be met as predicted, or None when it can."""
    needed = needed_limits(least_cost(scenario, card, profile), profile)
    binding = [
        name for name, limit in scenario.limits.requested.items() if name in needed and limit < needed[name]
    ]
    if binding:
        # What is measured, not only foretold, must hold with the advice: it keeps a reserve.
        advised = {name: _round_up(needed[name] * (1 + RESERVES.get(name, 0.0))) for name in binding}
        return _too_tight(scenario, estimator, profile, advised)
    floor = scenario.limits.accuracy_min
    best = propose(scenario, estimator, profile)[0]
    if floor is None or best.predicted.accuracy >= floor:
        return None
    return too_inaccurate(scenario, estimator, profile, best.predicted)


def needed_limits(least: Cost, profile: Profile) -> dict[str, float]:
    """Return the tightest limits that the cheapest model meets, rounded up to four digits."""
    return {
        "latency_ms": _round_up(least.latency_ms * (1 + profile.latency.margin)),
        "memory_mb": _round_up(least.memory_mb * (1 + profile.memory.margin)),
        "size_mb": _round_up(least.size_mb),
    }


def _too_tight(
    scenario: Scenario, estimator: Estimator, profile: Profile, needed: dict[str, float]
) -> Diagnosis:
    caps = replace(caps_of(scenario.limits), **needed)
    best = propose(scenario, estimator, profile, caps)[0].predicted
    change: dict[str, Any] = {f"/limits/{name}": value for name, value in needed.items()}
    return Diagnosis(
        feasible=False,
        binding=tuple(needed),
        best_possible=best,
        nearest=(Change(change=change, predicted=best),),
    )


def too_inaccurate(scenario: Scenario, estimator: Estimator, profile: Profile, best: Predicted) -> Diagnosis:
    """Return the diagnosis of an accuracy floor that the other limits leave out of reach.

    Args:
        scenario: has an accuracy floor.
        estimator: of the checkpoint.
        profile: of the device.
        best: figures of the most accurate model within the other limits.
    """
    floor = scenario.limits.accuracy_min or 0.0
    lowered = {"/limits/accuracy_min": math.floor(best.accuracy * 1000) / 1000}
    nearest = [Change(change=lowered, predicted=best)]
    caps = caps_of(scenario.limits)
    set_caps = {n: v for n, v in scenario.limits.requested.items() if n != "accuracy_min"}
    for step in range(1, WIDENINGS + 1):
        wider = {name: _round_up(value * 1.3**step) for name, value in set_caps.items()}
        if not wider:
            break
        found = propose(scenario, estimator, profile, replace(caps, **wider))[0].predicted
        if found.accuracy >= floor and found.accuracy > best.accuracy:
            change: dict[str, Any] = {f"/limits/{name}": value for name, value in wider.items()}
            nearest.append(Change(change=change, predicted=found))
            break
    return Diagnosis(feasible=False, binding=("accuracy_min",), best_possible=best, nearest=tuple(nearest))


def too_slow(measured: Predicted, limits: dict[str, float]) -> Diagnosis:
    """Return the diagnosis of limits that the prediction met but the measurement did not.

    Args:
        measured: figures of the model that came nearest.
        limits: those it missed.
    """
    change: dict[str, Any] = {
        f"/limits/{name}": _round_up(getattr(measured, name) * (1 + MEASURED_RESERVE)) for name in limits
    }
    nearest = (Change(change=change, predicted=measured),)
    return Diagnosis(feasible=False, binding=tuple(limits), best_possible=measured, nearest=nearest)


def _predicted(cost: Cost, accuracy: float) -> Predicted:
    return Predicted(
        latency_ms=cost.latency_ms, memory_mb=cost.memory_mb, size_mb=cost.size_mb, accuracy=accuracy
    )


def _round_up(value: float) -> float:
    """Return the value with four digits, never below it."""
    digits = 3 - math.floor(math.log10(value))
    return float(math.ceil(value * 10**digits) / 10**digits)
