"""Estimate: what a scenario would give, or why it cannot be met and what comes nearest; without torch."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from assembler.artifact import Change, Diagnosis, Estimate, Predicted
from assembler.cost import Cost
from assembler.device import Profile
from assembler.propose import Estimator, caps_of, cost, least_cost, propose
from assembler.scenario import Scenario
from supernet.card import Card
from supernet.gates import full_gates

# Tries to find how far limits must widen: the whole way, then halves.
WIDENINGS = 4
MEASURED_RESERVE = 0.1
RESERVES = {"latency_ms": 0.1, "memory_mb": 0.02}
ACCURACY = "/limits/accuracy_min"


def estimate(scenario: Scenario, card: Card, estimator: Estimator, profile: Profile) -> Estimate:
    """Return the predicted figures of a scenario, or why it cannot be met and what comes nearest."""
    error = card.figures.predictor_error
    if tight := too_tight(scenario, card, estimator, profile):
        return Estimate(**dict(tight), accuracy_error=error)
    best = propose(scenario, estimator, profile)[0].predicted
    if best.accuracy < (scenario.limits.accuracy_min or 0.0):
        return Estimate(**dict(too_inaccurate(scenario, estimator, profile, best)), accuracy_error=error)
    return Estimate(feasible=True, predicted=best, accuracy_error=error)


def too_tight(scenario: Scenario, card: Card, estimator: Estimator, profile: Profile) -> Diagnosis | None:
    """Return which limits the cheapest model is foretold to miss and what comes nearest, None where it meets all."""
    needed = needed_limits(least_cost(scenario, card, profile), profile)
    binding = [
        name for name, limit in scenario.limits.requested.items() if name in needed and limit < needed[name]
    ]
    if not binding:
        return None
    # What is measured, not only foretold, must hold with the advice: it keeps a reserve.
    advised = {name: _round_up(needed[name] * (1 + RESERVES.get(name, 0.0))) for name in binding}
    best = propose(scenario, estimator, profile, replace(caps_of(scenario.limits), **advised))[0].predicted
    change: dict[str, Any] = {f"/limits/{name}": value for name, value in advised.items()}
    if best.accuracy < (scenario.limits.accuracy_min or 0.0):
        change[ACCURACY] = _surely(best.accuracy, estimator)
    return Diagnosis(
        feasible=False,
        binding=tuple(binding),
        best_possible=best,
        nearest=(Change(change=change, predicted=best),),
    )


def needed_limits(least: Cost, profile: Profile) -> dict[str, float]:
    """Return the tightest limits that the cheapest model meets, rounded up to four digits."""
    return {
        "latency_ms": _round_up(least.latency_ms * (1 + profile.latency.margin)),
        "memory_mb": _round_up(least.memory_mb * (1 + profile.memory.margin)),
        "size_mb": _round_up(least.size_mb),
    }


def too_inaccurate(
    scenario: Scenario,
    estimator: Estimator,
    profile: Profile,
    best: Predicted,
    *,
    measured: bool = False,
    hope: float = 0.0,
) -> Diagnosis:
    """Return the diagnosis of an accuracy floor that the other limits leave out of reach.

    Args:
        scenario: has an accuracy floor.
        estimator: of the checkpoint.
        profile: of the device.
        best: figures of the most accurate model within the other limits.
        measured: whether those figures were measured, not foretold.
        hope: by how much the prediction was too high where that was measured; others are taken to be as well.
    """
    advised = _round_down(best.accuracy) if measured else _surely(best.accuracy, estimator)
    nearest = [Change(change={ACCURACY: advised}, predicted=best)]
    wider = _widened(scenario, estimator, profile, (scenario.limits.accuracy_min or 0.0) + max(0.0, hope))
    if wider is not None and wider.predicted.accuracy > best.accuracy:
        nearest.append(wider)
    return Diagnosis(feasible=False, binding=("accuracy_min",), best_possible=best, nearest=tuple(nearest))


def _widened(scenario: Scenario, estimator: Estimator, profile: Profile, floor: float) -> Change | None:
    """Return how far the other limits must widen, all by the same part of the way to the dense net's cost."""
    dense = needed_limits(
        cost(scenario, estimator.card, full_gates(estimator.card.architecture).counts, profile), profile
    )
    limits = {
        name: (limit, dense[name]) for name, limit in scenario.limits.requested.items() if name in dense
    }
    limits = {name: (low, high) for name, (low, high) in limits.items() if low < high}
    low, high, found = 0.0, 1.0, None
    for _ in range(WIDENINGS):
        part = high if found is None else (low + high) / 2
        caps = {name: _round_up(start * (end / start) ** part) for name, (start, end) in limits.items()}
        wider = replace(caps_of(scenario.limits), **caps)
        best = propose(scenario, estimator, profile, wider)[0].predicted
        if best.accuracy >= floor:
            found = Change(change={f"/limits/{name}": value for name, value in caps.items()}, predicted=best)
            high = part
        elif found is None:
            return None
        else:
            low = part
    return found if limits else None


def missed_when_measured(measured: Predicted, limits: Sequence[str]) -> Diagnosis:
    """Return the diagnosis of limits that the prediction met but the measurement did not.

    Args:
        measured: figures of the model that came nearest.
        limits: those it missed.
    """
    change: dict[str, Any] = {
        f"/limits/{name}": _round_up(getattr(measured, name) * (1 + MEASURED_RESERVE))
        for name in limits
        if name != "accuracy_min"
    }
    if "accuracy_min" in limits:
        change[ACCURACY] = _round_down(measured.accuracy)
    nearest = (Change(change=change, predicted=measured),)
    return Diagnosis(feasible=False, binding=tuple(limits), best_possible=measured, nearest=nearest)


def _surely(accuracy: float, estimator: Estimator) -> float:
    """Return an accuracy that a model foretold so will hardly miss: less twice the predictor's mean error."""
    return max(0.001, _round_down(accuracy - 2 * estimator.card.figures.predictor_error))


def _round_up(value: float) -> float:
    """Return the value with four digits, never below it."""
    digits = 3 - math.floor(math.log10(value))
    return float(math.ceil(value * 10**digits) / 10**digits)


def _round_down(value: float) -> float:
    """Return the value with three digits after the point, never above it."""
    return math.floor(value * 1000) / 1000
