"""The nominal device costs more for more modules."""

from itertools import pairwise

from assembler.cost import cost_of
from assembler.nominal import nominal_profile
from supernet.design import small_design
from supernet.gates import full_gates


def test_its_figures_are_those_of_a_small_server_core() -> None:
    architecture = small_design(channels=1, side_px=28)
    profile = nominal_profile(architecture)
    nothing = cost_of(architecture, (0,) * 8, 5, profile)
    dense = cost_of(architecture, full_gates(architecture).counts, 5, profile)
    assert 0.01 < nothing.latency_ms < 0.05
    assert 0.2 < dense.latency_ms < 0.5


def test_a_block_without_modules_costs_nothing_and_its_first_one_most() -> None:
    architecture = small_design(channels=1, side_px=28)
    for row in nominal_profile(architecture).latency.table:
        assert row[0] == 0.0
        steps = [more - less for less, more in pairwise(row)]
        assert all(step <= steps[0] for step in steps)
