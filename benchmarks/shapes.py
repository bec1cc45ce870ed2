"""Shapes that keep to a share of the dense net's latency, and what they take on this machine."""

import json
import statistics
from collections.abc import Sequence

import numpy as np

from assembler.compile.onnx import build
from assembler.cost import macs
from assembler.device import Profile
from assembler.measure import measure_model
from assembler.propose import Estimator, caps_of, portfolio, propose
from assembler.scenario import Scenario
from assembler.search import Caps
from assembler.subnet import random_subnet
from assembler.timing import scaled
from supernet.gates import Gates, full_gates, prefix_gates

TRIES = 5


def dense_ms(estimator: Estimator, profile: Profile) -> float:
    """Return the foretold latency of the dense net."""
    return profile.latency.predict_ms(full_gates(estimator.card.architecture).counts)


def asking(classes: Sequence[str], latency_ms: float, **more: object) -> Scenario:
    """Return the scenario of some classes within a latency limit."""
    facts = {
        "task": {"kind": "classification", "classes": list(classes)},
        "limits": {"latency_ms": latency_ms},
        **more,
    }
    return Scenario.model_validate_json(json.dumps(facts))


def shape_within(estimator: Estimator, profile: Profile, budget: float) -> Gates | None:
    """Return the gates for all classes within a share of the dense net's latency, None where no net is that quick."""
    scenario = asking(estimator.card.classes, budget * dense_ms(estimator, profile))
    proposals = propose(scenario, estimator, profile, _unreserved(scenario, profile))
    return proposals[0].gates if proposals else None


def shape_of_macs(estimator: Estimator, profile: Profile, most: float) -> Gates:
    """Return the largest gates for all classes, the image as it is, of no more multiply-accumulates than some."""
    architecture, dense = estimator.card.architecture, dense_ms(estimator, profile)
    found = prefix_gates((0,) * len(architecture.blocks))
    largest = 0.0
    for budget in np.linspace(0.01, 1.0, 100):
        scenario = asking(estimator.card.classes, float(budget) * dense)
        caps = _unreserved(scenario, profile)
        for proposal in portfolio(scenario, estimator, profile, caps, None)[:1]:
            if largest < (takes := macs(architecture, proposal.gates.counts, 1)) <= most:
                found, largest = proposal.gates, takes
    return found


def _unreserved(scenario: Scenario, profile: Profile) -> Caps:
    """Return caps that admit what is foretold to take a scenario's limits."""
    return scaled(caps_of(scenario.limits), 1 + profile.latency.margin)


def measured_ms(gates: Gates, estimator: Estimator, profile: Profile, outputs: int) -> float:
    """Return what a net of the same shape with random weights takes on this machine, the median of some tries, ms."""
    architecture = estimator.card.architecture
    twin = random_subnet(architecture.at(gates.side), gates.counts, outputs)
    content = build(twin, architecture.input)
    tries = [
        measure_model(content, architecture.input, threads=profile.threads).latency_ms for _ in range(TRIES)
    ]
    return statistics.median(tries)
