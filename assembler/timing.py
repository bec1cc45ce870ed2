"""Timing: which proposals keep to the limits as they run here, before anything is cut out.

Latency does not depend on weights: nets of the proposed shapes are run with random ones.
"""

from dataclasses import replace

from assembler.compile.onnx import build
from assembler.device import Profile
from assembler.measure import ModelMeasurement, measure_model
from assembler.propose import Estimator, Proposal, affordable, propose
from assembler.scenario import Limits, Scenario
from assembler.search import Caps
from assembler.subnet import random_subnet
from supernet.card import Card

RETRIES = 3
# A figure measured again may be a little higher: models are cut for a little less than the limit, and one that
# only just keeps to it is taken when nothing better was found.
RESERVE = 0.985
MEASURED = ("latency_ms", "memory_mb")
# How often a shape that misses its limit is timed.
TIMINGS = 2

# Counts of modules on in each block, and the side that the image is shrunk to: all that latency depends on.
Shape = tuple[tuple[int, ...], int | None]


def hopeful(caps: Caps, profile: Profile) -> Caps:
    """Raise the cap on latency by what the search takes off for the error of the profile."""
    if caps.latency_ms is None:
        return caps
    return replace(caps, latency_ms=caps.latency_ms * (1 + profile.latency.margin))


def in_time(
    scenario: Scenario, estimator: Estimator, profile: Profile, caps: Caps
) -> tuple[tuple[Proposal, ...], Caps]:
    """Return the affordable proposals that keep to the limit on latency as timed, and the caps that gave them.

    Where none does, caps are tightened until one does or the tries end; the last proposals are returned then,
    and none where the caps leave nothing.
    """
    architecture = estimator.card.architecture
    proposals = affordable(propose(scenario, estimator, profile, caps), architecture)
    if scenario.limits.latency_ms is None or not proposals:
        return proposals, caps
    for _ in range(RETRIES):
        timed = _timed(proposals, scenario, estimator.card, profile)
        if in_time := tuple(p for p in proposals if fits(scenario.limits, timed[_shape(p)])):
            return in_time, caps
        quickest = min(timed.values(), key=lambda measurement: measurement.latency_ms)
        tighter = tightened(caps, scenario.limits, quickest)
        if not (found := affordable(propose(scenario, estimator, profile, tighter), architecture)):
            break
        proposals, caps = found, tighter
    return proposals, caps


def _timed(
    proposals: tuple[Proposal, ...], scenario: Scenario, card: Card, profile: Profile
) -> dict[Shape, ModelMeasurement]:
    """Run nets of the proposals' shapes with random weights; return what each shape took.

    One that misses its limit though it was foretold to keep it is run again: other programs only ever add time.
    """
    image, limits = card.architecture.input, scenario.limits
    outputs = card.outputs(scenario.task)
    found: dict[Shape, ModelMeasurement] = {}
    for shape in {_shape(proposal) for proposal in proposals}:
        counts, side = shape
        content = build(
            random_subnet(card.architecture.at(side), counts, len(outputs.rows), of=outputs.merged), image
        )
        for _ in range(TIMINGS):
            took = measure_model(
                content, image, threads=profile.threads, percentile=limits.latency_percentile
            )
            if shape not in found or took.latency_ms < found[shape].latency_ms:
                found[shape] = took
            if fits(limits, took):
                break
    return found


def _shape(proposal: Proposal) -> Shape:
    return proposal.gates.counts, proposal.gates.side


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
    allowed = (1 + RESERVE) / 2
    return [
        name
        for name, limit in limits.requested.items()
        if name in MEASURED and getattr(measurement, name) > limit * allowed
    ]
