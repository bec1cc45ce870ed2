"""What misses a limit is asked for again with less, by as much as it missed; what keeps to it is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.artifact import Predicted
from assembler.measure import ModelMeasurement
from assembler.nominal import nominal_profile
from assembler.scenario import Limits, Scenario
from assembler.search import Caps
from assembler.timing import MOST_TIMINGS, RESERVE, Timed, fits, tightened
from supernet.card import ImageInput
from supernet.gates import Gates, full_gates, prefix_gates
from supernet.task import Kind, Task
from tests.service.making import make_card
from tests.shapes import SMALL

LIMITS = Limits(latency_ms=1.0, memory_mb=10.0, size_mb=0.5)
CAPS = Caps(latency_ms=0.9, memory_mb=9.0, size_mb=0.5)
CARD = make_card()
PROFILE = nominal_profile(SMALL)
MARGIN = 1 + PROFILE.latency.margin
TOLD = Predicted(latency_ms=0.8, memory_mb=4.0, size_mb=0.2, accuracy=0.9)
FEW, ALL_ON = prefix_gates((1, 1, 1)), full_gates(SMALL)


def test_a_model_within_its_limits_and_half_the_reserve_fits() -> None:
    edge = (1 + RESERVE) / 2
    assert fits(LIMITS, ModelMeasurement(edge, 10 * edge))
    assert not fits(LIMITS, ModelMeasurement(edge + 1e-6, 1.0))
    assert not fits(LIMITS, ModelMeasurement(0.1, 10 * edge + 1e-6))
    assert fits(Limits(size_mb=0.5), ModelMeasurement(100.0, 100.0))


def test_only_the_cap_that_was_missed_falls_and_by_what_was_foretold_wrong() -> None:
    tighter = tightened(CAPS, LIMITS, ModelMeasurement(latency_ms=1.25, memory_mb=5.0), TOLD, PROFILE)
    assert tighter.latency_ms == pytest.approx(0.8 * MARGIN / 1.25 * RESERVE)
    assert (tighter.memory_mb, tighter.size_mb) == (9.0, 0.5)
    assert tightened(CAPS, LIMITS, ModelMeasurement(0.5, 5.0), TOLD, PROFILE) == CAPS


@given(
    told=st.floats(1e-3, 1e3),
    slower=st.floats(1.0, 10.0),
    limit=st.floats(1e-3, 1e3),
    margin=st.floats(0, 0.5),
)
def test_what_was_late_is_never_admitted_again(
    told: float, slower: float, limit: float, margin: float
) -> None:
    latency = PROFILE.latency.model_copy(update={"margin": margin})
    profile = PROFILE.model_copy(update={"latency": latency})
    # The limit itself, as a shape that was foretold to keep to it turned out to take more.
    caps, took = Caps(latency_ms=told * (1 + margin)), ModelMeasurement(limit * slower, 1.0)
    predicted = TOLD.model_copy(update={"latency_ms": told})
    limits = Limits(latency_ms=limit)
    tighter = tightened(caps, limits, took, predicted, profile)
    assert fits(limits, took) or (tighter.latency_ms or 0.0) < caps.latency_ms


def timing(limits: Limits, *latencies_ms: float) -> tuple[Timed, list[dict[str, object]]]:
    """Return what times networks and says one latency after the other, and what it was asked for with."""
    asked: list[dict[str, object]] = []

    def say(content: bytes, image: ImageInput, **named: object) -> ModelMeasurement:
        asked.append(named)
        return ModelMeasurement(latencies_ms[len(asked) - 1], 1.0)

    return Timed(asking(limits), CARD, nominal_profile(SMALL), say), asked


def test_nothing_is_timed_where_latency_is_not_limited() -> None:
    free, asked = timing(Limits(size_mb=1.0))
    assert free.keeps(full_gates(SMALL))
    assert asked == []


def test_a_shape_that_keeps_to_its_limit_is_timed_once() -> None:
    timed, asked = timing(Limits(latency_ms=1.0, latency_percentile=90), 0.9)
    assert timed.keeps(ALL_ON)
    assert timed.keeps(ALL_ON)
    (named,) = asked
    assert named == {"threads": 1, "percentile": 90, "enough_ms": pytest.approx((1 + RESERVE) / 2)}


def test_a_shape_that_misses_its_limit_is_timed_a_second_time_and_the_quicker_counts() -> None:
    timed, asked = timing(Limits(latency_ms=1.0), 1.5, 0.9, 1.5, 1.2)
    assert timed.keeps(FEW)
    assert not timed.keeps(ALL_ON)
    assert not timed.keeps(ALL_ON)
    assert len(asked) == 4
    assert timed.tightened(CAPS, ALL_ON, TOLD).latency_ms == pytest.approx(0.8 * MARGIN / 1.2 * RESERVE)
    assert (timed.excess(FEW), timed.excess(ALL_ON)) == (0.9, 1.2)


def test_a_shape_that_misses_its_limit_by_little_is_timed_some_times_more() -> None:
    timed, asked = timing(Limits(latency_ms=1.0), 1.5, 1.01, 0.99)
    assert timed.keeps(ALL_ON)
    assert len(asked) == 3
    timed, asked = timing(Limits(latency_ms=1.0), *[1.01] * MOST_TIMINGS)
    assert not timed.keeps(ALL_ON)
    assert len(asked) == MOST_TIMINGS


def test_shapes_differ_by_counts_and_side_and_not_by_which_modules_are_on() -> None:
    timed, asked = timing(Limits(latency_ms=1.0), 0.9, 0.9, 0.9)
    for gates in (Gates(((0,), (0,), (0,))), Gates(((2,), (1,), (3,)))):
        assert timed.keeps(gates)
    assert len(asked) == 1
    assert timed.keeps(Gates(((0,), (0,), (0,)), side=8))
    assert timed.keeps(Gates(((0, 1), (0,), (0,))))
    assert len(asked) == 3


def test_networks_run_here_to_be_timed() -> None:
    profile = nominal_profile(SMALL)
    assert Timed(asking(Limits(latency_ms=1000.0)), CARD, profile).keeps(ALL_ON)
    assert not Timed(asking(Limits(latency_ms=1e-6)), CARD, profile).keeps(FEW)


def asking(limits: Limits) -> Scenario:
    task = Task(kind=Kind.CLASSIFICATION, classes=CARD.classes[:3])
    return Scenario.model_validate({"task": task, "limits": limits}, strict=False)
