"""Designs fit their images."""

import pytest
import torch

from supernet.design import small_design
from supernet.gates import full_gates
from supernet.model import Supernet


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (3, 40)])
def test_the_small_design_computes(channels: int, side: int) -> None:
    architecture = small_design(channels=channels, side_px=side)
    supernet = Supernet(architecture, 7)
    assert supernet(torch.rand(2, channels, side, side), full_gates(architecture)).shape == (2, 7)


def test_early_blocks_follow_the_budget_and_late_ones_the_classes() -> None:
    flags = [block.task_wise for block in small_design(channels=1, side_px=28).blocks]
    assert flags == sorted(flags)
    assert not flags[0]
    assert flags[-1]


def test_a_side_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        small_design(channels=1, side_px=30)


def test_smaller_sides_divide_into_all_blocks() -> None:
    architecture = small_design(channels=3, side_px=32, sides=(20, 24))
    assert architecture.sides == (24, 20)
    shrunk = architecture.at(20)
    assert (shrunk.input.height, shrunk.shrunk_from, shrunk.sides) == (20, 32, ())
    assert [block.height for block in shrunk.blocks] == [10, 10, 10, 10, 5, 5, 5, 5]
    assert architecture.at(None) is architecture
    with pytest.raises(ValueError, match="multiple of 4"):
        small_design(channels=3, side_px=32, sides=(30,))
    with pytest.raises(ValueError, match="below 32"):
        small_design(channels=3, side_px=32, sides=(32,))
