"""Classes are parted among the modules of a block: evenly, and similar ones together."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assembler.routing import FEWEST_CLASSES, chained, routes
from supernet.sampling import closeness_of
from tests.shapes import SMALL

GROUPS = [group for group in range(8) for _ in range(5)]
CLOSE = closeness_of(GROUPS)


def test_every_module_of_a_task_wise_block_is_for_an_even_share_of_the_classes() -> None:
    found = routes(SMALL, CLOSE)
    assert found.shape == (40, 11)
    assert torch.equal(found[:, :3], torch.zeros(40, 3))
    for block in (found[:, 3:7], found[:, 7:]):
        assert torch.allclose(block.sum(dim=1), torch.zeros(40), atol=1e-6)
        assert np.bincount(block.argmax(dim=1).numpy()).tolist() == [10, 10, 10, 10]


def test_similar_classes_have_the_same_module_and_blocks_part_them_elsewhere() -> None:
    one, other = (block.argmax(dim=1).numpy() for block in routes(SMALL, CLOSE)[:, 3:].split(4, dim=1))
    assert not np.array_equal(one, other)
    for module in (one, other):
        whole = [len(set(module[np.equal(GROUPS, group)].tolist())) == 1 for group in range(8)]
        assert np.mean(whole) == 1.0


def test_few_classes_are_not_parted() -> None:
    few = FEWEST_CLASSES * 4 - 1
    assert torch.equal(routes(SMALL, CLOSE[:few, :few]), torch.zeros(few, 11))
    assert routes(SMALL, CLOSE[: few + 1, : few + 1]).abs().max() > 0


@given(st.integers(1, 30), st.integers(0, 5))
def test_the_chain_holds_every_class_once(classes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    close = draw.random((classes, classes), dtype=np.float32)
    assert sorted(chained(close, draw)) == list(range(classes))


@pytest.mark.parametrize("seed", range(4))
def test_a_cluster_is_used_up_before_the_next_begins(seed: int) -> None:
    groups = np.array(GROUPS)[chained(CLOSE, np.random.default_rng(seed))]
    assert int((np.diff(groups) != 0).sum()) == 7
