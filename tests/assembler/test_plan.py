import numpy as np
import pytest

from assembler.plan import FITTED_NETS, MOST_COUNTS, TRIED_NETS, make_plan, random_counts
from supernet.card import Architecture
from tests.shapes import SMALL


def wide(modules: int) -> Architecture:
    block = SMALL.blocks[0].model_copy(update={"modules": modules})
    return SMALL.model_copy(update={"blocks": (block, *SMALL.blocks[1:])})


def test_every_count_of_every_block_is_measured_once(shipped: Architecture) -> None:
    plan = make_plan(shipped, seed=0)
    alone = plan.nets[: len(plan.nets) - len(plan.fitted)]
    assert len(alone) == 1 + sum(block.modules for block in shipped.blocks)
    assert len(set(alone)) == len(alone)
    for net in alone[1:]:
        assert sum(a != b for a, b in zip(net, plan.reference, strict=True)) == 1


@pytest.mark.parametrize("modules", [1, 8, 9, 72])
def test_large_blocks_are_measured_at_some_counts_from_none_to_all(modules: int) -> None:
    counts = make_plan(wide(modules), seed=0).counts[0]
    assert counts[0] == 0
    assert counts[-1] == modules
    assert list(counts) == sorted(set(counts))
    assert len(counts) == min(modules + 1, MOST_COUNTS)


@pytest.mark.parametrize("modules", [1, 2, 6, 72])
@pytest.mark.parametrize("share", [0.1, 0.45, 1.0])
def test_what_the_first_module_of_a_block_adds_is_always_measured(modules: int, share: float) -> None:
    # It starts the operators of the block, and costs more than any that follows.
    counts = make_plan(wide(modules), seed=0, share=share).counts[0]
    assert counts[:2] == (0, 1)
    assert counts[-1] == modules


@pytest.mark.parametrize("modules", [4, 30])
def test_additive_latencies_give_back_what_each_block_adds(modules: int) -> None:
    plan = make_plan(wide(modules), seed=1)
    price = (0.5, 2.0, 3.0)
    latencies = [7.0 + sum(p * n for p, n in zip(price, net, strict=True)) for net in plan.nets]
    table = plan.table(latencies)
    for row, p, block in zip(table, price, wide(modules).blocks, strict=True):
        assert np.array(row) - row[0] == pytest.approx(p * np.arange(block.modules + 1))


def test_the_nets_tried_span_all_sizes_and_are_not_those_fitted(shipped: Architecture) -> None:
    plan = make_plan(shipped, seed=0)
    assert plan.fitted[0] == (0,) * 8
    assert plan.tried[0] == tuple(block.modules for block in shipped.blocks)
    assert len(set(plan.tried)) == TRIED_NETS
    assert len(set(plan.fitted)) == FITTED_NETS + 1
    assert not set(plan.tried) & set(plan.fitted)
    assert make_plan(shipped, seed=0) == plan
    assert make_plan(shipped, seed=1) != plan


def test_random_nets_are_of_every_size(shipped: Architecture) -> None:
    draw = np.random.default_rng(0)
    sizes = [sum(random_counts(shipped, draw)) for _ in range(600)]
    spread, _ = np.histogram(sizes, bins=4, range=(0, 44))
    assert (spread > 90).all()


def test_a_supernet_of_one_module_has_a_plan() -> None:
    one = SMALL.model_copy(update={"blocks": (SMALL.blocks[0].model_copy(update={"modules": 1}),)})
    plan = make_plan(one, seed=0)
    assert set(plan.nets) == {(0,), (1,)}
    assert plan.table([5.0, 3.0, 3.0, 5.0]) == [[-2.0, 0.0]]
