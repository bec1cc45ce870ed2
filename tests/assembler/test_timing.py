"""What misses a limit is asked for again with less, by as much as it missed; what keeps to it is left alone."""

import pytest

from assembler.measure import ModelMeasurement, measure_model
from assembler.nominal import nominal_profile
from assembler.scenario import Limits, Scenario
from assembler.search import Caps
from assembler.timing import RESERVE, Timed, fits, tightened
from service.zoo import shipped_zoo
from supernet.card import Card, load_card
from supernet.gates import full_gates, prefix_gates
from supernet.task import Kind, Task

LIMITS = Limits(latency_ms=1.0, memory_mb=10.0, size_mb=0.5)
CAPS = Caps(latency_ms=0.9, memory_mb=9.0, size_mb=0.5)


def test_a_model_within_its_limits_and_half_the_reserve_fits() -> None:
    edge = (1 + RESERVE) / 2
    assert fits(LIMITS, ModelMeasurement(edge, 10 * edge))
    assert not fits(LIMITS, ModelMeasurement(edge + 1e-6, 1.0))
    assert not fits(LIMITS, ModelMeasurement(0.1, 10 * edge + 1e-6))
    assert fits(Limits(size_mb=0.5), ModelMeasurement(100.0, 100.0))


def test_only_the_cap_that_was_missed_falls() -> None:
    tighter = tightened(CAPS, LIMITS, ModelMeasurement(latency_ms=1.25, memory_mb=5.0))
    assert tighter.latency_ms == pytest.approx(0.9 / 1.25 * RESERVE)
    assert (tighter.memory_mb, tighter.size_mb) == (9.0, 0.5)
    assert tightened(CAPS, LIMITS, ModelMeasurement(0.5, 5.0)) == CAPS


def test_a_shape_is_timed_once_and_only_where_latency_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    card, times = load_card(shipped_zoo() / "fashion"), []

    def counting(*args: object, **named: object) -> ModelMeasurement:
        times.append(named["enough_ms"])
        return measure_model(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("assembler.timing.measure_model", counting)
    profile = nominal_profile(card.architecture)
    few, all_on = prefix_gates((1,) * len(card.architecture.blocks)), full_gates(card.architecture)
    free = Timed(asking(card, Limits(size_mb=1.0)), card, profile)
    assert free.keeps(all_on)
    assert times == []
    tight = Timed(asking(card, Limits(latency_ms=0.001)), card, profile)
    assert not tight.keeps(few)
    assert not tight.keeps(few)
    assert len(times) == 2
    assert times[0] == pytest.approx(0.001, rel=0.02)
    assert not tight.keeps(all_on)
    caps = Caps(latency_ms=0.001)
    lower = tight.tightened(caps, [few, all_on]).latency_ms
    assert lower is not None
    assert lower < 0.0005
    wide = Timed(asking(card, Limits(latency_ms=1000.0)), card, profile)
    assert wide.keeps(all_on)
    assert len(times) == 5


def asking(card: Card, limits: Limits) -> Scenario:
    task = Task(kind=Kind.CLASSIFICATION, classes=card.classes[:3])
    return Scenario.model_validate({"task": task, "limits": limits}, strict=False)
