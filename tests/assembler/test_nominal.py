"""The nominal device costs more for more modules."""

from itertools import pairwise

import pytest

from assembler.cost import cost_of
from assembler.nominal import nominal_profile
from supernet.backbones import LITE0
from supernet.card import Architecture
from supernet.design import small_design
from supernet.gates import full_gates


def test_its_figures_are_those_of_a_small_server_core() -> None:
    architecture = small_design(channels=1, side_px=28)
    profile = nominal_profile(architecture)
    nothing = cost_of(architecture, (0,) * 8, 5, profile)
    dense = cost_of(architecture, full_gates(architecture).counts, 5, profile)
    assert 0.01 < nothing.latency_ms < 0.05
    assert 0.2 < dense.latency_ms < 0.5


def test_photographs_cost_most_in_early_blocks_and_smaller_ones_less() -> None:
    architecture = LITE0.design(side_px=128, sides=(64,))
    profile, dense = nominal_profile(architecture), full_gates(architecture).counts
    whole, small = (profile.latency_at(side) for side in (None, 64))
    assert 2.0 < whole.predict_ms(dense) < 5.0
    # Weights are the same, so that a quarter of the pixels costs more than a quarter.
    assert 0.3 < small.predict_ms(dense) / whole.predict_ms(dense) < 0.6
    assert 0.1 < small.offset_ms < whole.offset_ms < 0.8
    early, late = whole.table[1][-1], whole.table[11][-1]
    assert early > late / 2


@pytest.mark.parametrize("architecture", [small_design(channels=1, side_px=28), LITE0.design(side_px=64)])
def test_a_block_without_modules_costs_nothing_and_its_first_one_most(architecture: Architecture) -> None:
    for row in nominal_profile(architecture).latency.table:
        assert row[0] == 0.0
        steps = [more - less for less, more in pairwise(row)]
        assert all(step <= steps[0] * (1 + 1e-9) for step in steps)
