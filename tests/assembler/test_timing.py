"""What misses a limit is asked for again with less, by as much as it missed; what keeps to it is left alone."""

import pytest

from assembler.measure import ModelMeasurement
from assembler.scenario import Limits
from assembler.search import Caps
from assembler.timing import RESERVE, fits, tightened

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
