"""Timing: which networks keep to the limits as they run here, before they are finished.

Latency does not depend on weights: networks of their shapes are run with random ones.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from assembler.artifact import Predicted
from assembler.compile.onnx import build
from assembler.device import Profile
from assembler.measure import ModelMeasurement, measure_model
from assembler.scenario import Limits, Scenario
from assembler.search import Caps
from assembler.subnet import random_subnet
from supernet.card import Card
from supernet.gates import Gates

RETRIES = 3
# Where every try is only a little less than the one before.
SMALL_RETRIES = 6
# A figure measured again may be a little higher: models are cut for a little less than the limit, and one that
# only just keeps to it is taken when nothing better was found.
RESERVE = 0.985
MEASURED = ("latency_ms", "memory_mb")
# Networks are searched for a little less again, since a profile errs: one that is late costs a quarter of a second,
# and this share of the latency is worth next to nothing.
CAREFUL = 0.985
# Small networks, which are cut out quickly, grow in large steps, and a profile errs most for them: of those more is
# tried first, and what follows one that is late is only a little less.
BOLD, HOPE, SMALL_MACS = 1.06, 1.06, 1.5e6
JUST_BELOW = 1 - 1e-6
# What is measured may take so much of its limit.
ALLOWED = (1 + RESERVE) / 2
# How often a shape that misses its limit is timed; one that misses it by little oftener, for so long. Each try more
# finds models that only just keep to their limits, and not always when they are measured again.
TIMINGS, MOST_TIMINGS = 2, 3
LITTLE, MORE_S = 1.02, 0.35
# What is quicker than foretold by so much may give way to more.
QUICKER = 1.01

# Counts of modules on in each block, and the side that the image is shrunk to: all that latency depends on.
Shape = tuple[tuple[int, ...], int | None]


def hopeful(caps: Caps, profile: Profile) -> Caps:
    """Raise the cap on latency by what the search takes off for the error of the profile, less a little."""
    return scaled(caps, (1 + profile.latency.margin) * CAREFUL)


def scaled(caps: Caps, factor: float) -> Caps:
    """Multiply the cap on latency, if there is one."""
    return caps if caps.latency_ms is None else replace(caps, latency_ms=caps.latency_ms * factor)


class Timed:
    """What networks of some shapes take here, each timed with random weights when it is first asked for."""

    def __init__(
        self,
        scenario: Scenario,
        card: Card,
        profile: Profile,
        measure: Callable[..., ModelMeasurement] = measure_model,
    ) -> None:
        """Time nothing yet.

        Args:
            scenario: says what the limits and the classes are.
            card: of the supernet.
            profile: of this machine.
            measure: what takes the time, called as ``measure_model`` is.
        """
        self._scenario, self._card, self._profile, self._measure = scenario, card, profile, measure
        self._found: dict[Shape, ModelMeasurement] = {}

    def keeps(self, gates: Gates) -> bool:
        """Return whether a network's shape keeps to the limits; without a limit on latency, nothing is timed.

        One that misses its limit though it was foretold to keep it is run again: other programs only ever add time.
        """
        limits, shape = self._scenario.limits, (gates.counts, gates.side)
        if limits.latency_ms is None:
            return True
        if shape not in self._found:
            content = self._content(gates)
            self._found[shape] = quickest(limits, lambda: self._time(content))
        return fits(limits, self._found[shape])

    def tightened(
        self, caps: Caps, gates: Gates, predicted: Predicted, *, in_small_steps: bool = False
    ) -> Caps:
        """Lower caps below what a network was foretold to take that was timed and is late.

        Args:
            caps: that admitted the network.
            gates: of it.
            predicted: what was foretold of it.
            in_small_steps: whether the next may be only a little less, since the profile may err less for it.
        """
        measurement = self._found[gates.counts, gates.side]
        lower = tightened(caps, self._scenario.limits, measurement, predicted, self._profile)
        if not in_small_steps or caps.latency_ms is None or lower.latency_ms is None:
            return lower
        below = predicted.latency_ms * (1 + self._profile.latency.margin) * JUST_BELOW
        return replace(lower, latency_ms=min(caps.latency_ms, below, lower.latency_ms * HOPE))

    def raised(self, caps: Caps, gates: Gates, predicted: Predicted) -> Caps | None:
        """Raise the cap on latency by the factor that a timed network is quicker than foretold, None if it is not."""
        limit, margin = self._scenario.limits.latency_ms, self._profile.latency.margin
        if limit is None or caps.latency_ms is None:
            return None
        quicker = predicted.latency_ms / self._found[gates.counts, gates.side].latency_ms
        latency = (1 + margin) * limit * RESERVE * CAREFUL * quicker
        return replace(caps, latency_ms=latency) if latency > caps.latency_ms * QUICKER else None

    def excess(self, gates: Gates) -> float:
        """Return what share of its limits a network takes that was timed."""
        return excess(self._scenario.limits, self._found[gates.counts, gates.side])

    def _content(self, gates: Gates) -> bytes:
        outputs = self._card.outputs(self._scenario.task)
        architecture = self._card.architecture.at(gates.side)
        subnet = random_subnet(architecture, gates.counts, len(outputs.rows), of=outputs.merged)
        return build(subnet, self._card.architecture.input)

    def _time(self, content: bytes) -> ModelMeasurement:
        limits = self._scenario.limits
        return self._measure(
            content,
            self._card.architecture.input,
            threads=self._profile.threads,
            percentile=limits.latency_percentile,
            enough_ms=(limits.latency_ms or 0.0) * ALLOWED,
        )


def quickest(limits: Limits, measure: Callable[[], ModelMeasurement]) -> ModelMeasurement:
    """Return the quickest of some measurements of a model, as many as it takes until one fits, within reason."""
    began, tries = time.monotonic(), [measure()]
    while not fits(limits, tries[-1]) and len(tries) < MOST_TIMINGS:
        little = min(excess(limits, took) for took in tries) <= LITTLE
        if len(tries) >= TIMINGS and not (little and time.monotonic() - began < MORE_S):
            break
        tries.append(measure())
    return min(tries, key=lambda took: took.latency_ms)


def excess(limits: Limits, measurement: ModelMeasurement) -> float:
    """Return what share of its limits on latency and memory a model takes, 0 where there are none."""
    wanted = limits.requested
    shares: list[float] = [getattr(measurement, name) / wanted[name] for name in MEASURED if name in wanted]
    return max(shares, default=0.0)


def fits(limits: Limits, measurement: ModelMeasurement) -> bool:
    """Return whether latency and memory keep to their limits, with half of the reserve left."""
    return not _missed(limits, measurement)


def tightened(
    caps: Caps, limits: Limits, measurement: ModelMeasurement, predicted: Predicted, profile: Profile
) -> Caps:
    """Lower every cap whose limit was missed.

    Only networks are admitted that keep to the limit, with a reserve, if they too take as much more than foretold.

    Args:
        caps: that admitted the network.
        limits: that it should keep to.
        measurement: of it.
        predicted: what was foretold of it.
        profile: that foretold it.
    """
    margins = {"latency_ms": profile.latency.margin, "memory_mb": profile.memory.margin}
    changed = {}
    for name in _missed(limits, measurement):
        error = getattr(measurement, name) / getattr(predicted, name)
        lowered = (1 + margins[name]) * getattr(limits, name) * RESERVE / error
        changed[name] = min(getattr(caps, name), lowered)
    return replace(caps, **changed)


def _missed(limits: Limits, measurement: ModelMeasurement) -> list[str]:
    return [
        name
        for name, limit in limits.requested.items()
        if name in MEASURED and getattr(measurement, name) > limit * ALLOWED
    ]
