"""Random sub-networks keep to their budget and their tasks to what may be seen."""

import numpy as np

from supernet.elastic import elastic_sampler, random_budget, random_gates
from supernet.gates import full_gates
from supernet.sampling import held_out
from supernet.shapes import module_macs
from tests.shapes import SMALL


def test_random_gates_keep_to_their_budget_and_differ() -> None:
    draw = np.random.default_rng(0)
    macs = module_macs(SMALL)
    whole = sum(m * block.modules for m, block in zip(macs, SMALL.blocks, strict=True))
    found = [random_gates(draw, SMALL, 0.4) for _ in range(50)]
    assert all(sum(m * n for m, n in zip(macs, gates.counts, strict=True)) <= 0.4 * whole for gates in found)
    assert len({gates.active for gates in found}) > 20
    assert random_gates(draw, SMALL, 1.0) == full_gates(SMALL)


def test_samples_are_small_or_of_any_size_and_never_of_a_class_set_kept_out() -> None:
    draw = np.random.default_rng(0)
    sample = elastic_sampler(SMALL, 6)
    pairs = [sample(draw, 0.5) for _ in range(60)]
    assert all(small.gates.size <= 4 for small, _ in pairs)
    assert max(one.gates.size for _, one in pairs) >= 9
    tasks = {sample.classes for pair in pairs for sample in pair}
    assert tuple(range(6)) in tasks
    assert not any(held_out(task) for task in tasks)


def test_budgets_are_shares_of_the_full_net() -> None:
    draw = np.random.default_rng(0)
    budgets = [random_budget(draw) for _ in range(500)]
    assert 0.03 <= min(budgets) < 0.05
    assert 0.8 < max(budgets) <= 1.0
    assert 0.12 < float(np.median(budgets)) < 0.25
