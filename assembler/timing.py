"""Timing: which networks keep to the limits as they run here, before they are finished.

Latency does not depend on weights: networks of their shapes are run with random ones.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from assembler.compile.onnx import build
from assembler.device import Profile
from assembler.measure import ModelMeasurement, measure_model
from assembler.scenario import Limits, Scenario
from assembler.search import Caps
from assembler.subnet import random_subnet
from supernet.card import Card
from supernet.gates import Gates

RETRIES = 3
# A figure measured again may be a little higher: models are cut for a little less than the limit, and one that
# only just keeps to it is taken when nothing better was found.
RESERVE = 0.985
MEASURED = ("latency_ms", "memory_mb")
# What is measured may take so much of its limit.
ALLOWED = (1 + RESERVE) / 2
# How often a shape that misses its limit is timed.
TIMINGS = 2

# Counts of modules on in each block, and the side that the image is shrunk to: all that latency depends on.
Shape = tuple[tuple[int, ...], int | None]


def hopeful(caps: Caps, profile: Profile) -> Caps:
    """Raise the cap on latency by what the search takes off for the error of the profile."""
    if caps.latency_ms is None:
        return caps
    return replace(caps, latency_ms=caps.latency_ms * (1 + profile.latency.margin))


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
            tries = [self._time(content)]
            while len(tries) < TIMINGS and not fits(limits, tries[-1]):
                tries.append(self._time(content))
            self._found[shape] = min(tries, key=lambda took: took.latency_ms)
        return fits(limits, self._found[shape])

    def tightened(self, caps: Caps, found: Iterable[Gates]) -> Caps:
        """Lower caps by as much as the quickest of some networks, all timed, misses its limits."""
        timed = [self._found[gates.counts, gates.side] for gates in found]
        return tightened(caps, self._scenario.limits, min(timed, key=lambda took: took.latency_ms))

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


def fits(limits: Limits, measurement: ModelMeasurement) -> bool:
    """Return whether latency and memory keep to their limits, with half of the reserve left."""
    return not _missed(limits, measurement)


def tightened(caps: Caps, limits: Limits, measurement: ModelMeasurement) -> Caps:
    """Lower every cap that was missed by as much as it was missed, and a little more."""
    changed = {
        name: getattr(caps, name) * getattr(limits, name) / getattr(measurement, name) * RESERVE
        for name in _missed(limits, measurement)
    }
    return replace(caps, **changed)


def _missed(limits: Limits, measurement: ModelMeasurement) -> list[str]:
    return [
        name
        for name, limit in limits.requested.items()
        if name in MEASURED and getattr(measurement, name) > limit * ALLOWED
    ]
