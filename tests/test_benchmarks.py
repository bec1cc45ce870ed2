"""What the benchmarks ask of the service."""

import itertools
import json
from typing import Any

from assembler.scenario import parse_scenario
from benchmarks.service import asked_for, scenarios

SUPERNET: dict[str, Any] = {
    "name": "clothes",
    "kind": "classification",
    "classes": ["coat", "bag", "sneaker", "boot", "shirt"],
    "dense": {"latency_ms": 0.2, "memory_mb": 4.0, "size_mb": 0.5, "accuracy": 0.93},
}


def test_the_scenarios_that_are_drawn_are_valid_different_and_set_every_limit() -> None:
    supernet = {**SUPERNET, "dense": {**SUPERNET["dense"], "accuracy": 0.98}}
    drawn = list(itertools.islice(scenarios(supernet, 0), 300))
    parsed = [parse_scenario(json.dumps(one).encode()) for one in drawn]
    assert len({one.model_dump_json(exclude={"name"}) for one in parsed}) == 300
    asked = [set(asked_for(one)) for one in drawn]
    for name in ("latency_ms", "size_mb", "memory_mb", "accuracy_min", "other"):
        assert 20 < sum(name in one for one in asked) < 280
    assert all(len(one.task.classes) < 5 for one in parsed if one.task.other)


def test_the_same_seed_draws_the_same_scenarios() -> None:
    first, again, others = (list(itertools.islice(scenarios(SUPERNET, seed), 20)) for seed in (1, 1, 2))
    assert first == again
    assert first != others
