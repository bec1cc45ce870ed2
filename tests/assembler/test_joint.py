"""The assembler chooses by task and budget, and learns from what it chose."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from assembler.cost import cost_of
from assembler.joint import allowed_ms, choose, joint_sampler, ladder_within, side_near, straight_through
from assembler.ladder import worth_of
from assembler.model import Assembler
from assembler.nominal import nominal_profile
from assembler.utility import side_of, utilities
from supernet.gates import Gates, full_gates
from supernet.sampling import held_out
from tests.shapes import SMALL
from tests.small import CLASSES

PROFILE = nominal_profile(SMALL)


def assembler_of_opinions() -> Assembler:
    torch.manual_seed(0)
    assembler = Assembler(SMALL, len(CLASSES))
    assembler.raises.copy_(torch.tensor((2, 5)))
    assembler.worth.copy_(worth_of((1, 2, 1, 0, 2, 1, 0, 2, 2, 0, 1), SMALL))
    torch.nn.init.normal_(assembler.saliency, 0.0, 2.0)
    return assembler


def test_samples_keep_class_sets_to_test_on_out() -> None:
    sample = joint_sampler(assembler_of_opinions(), SMALL, PROFILE, len(CLASSES), learning=True)
    draw = np.random.default_rng(0)
    tasks = [one.classes for _ in range(100) for one in sample(draw, 0.5)]
    assert not any(held_out(task) for task in tasks)
    assert len(set(tasks)) > 10


def test_gates_differ_by_task() -> None:
    assembler = assembler_of_opinions()
    found = set()
    for label in range(len(CLASSES)):
        task = torch.nn.functional.one_hot(torch.tensor([label]), len(CLASSES)).float()
        with torch.no_grad():
            base, class_term = assembler(task, torch.tensor([[0.5]]))
        values = utilities(base.numpy()[0], class_term.numpy()[0], 1.0, (3, 4, 4))
        found.add(choose(values, SMALL, PROFILE, 0.5))
    assert len(found) >= 3


RAISES = (2, 5)


def latency(gates: Gates) -> float:
    return cost_of(SMALL.at(gates.side), gates.counts, 1, PROFILE.at(gates.side)).latency_ms


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.5, 1.0])
def test_gates_keep_to_the_budget(budget: float) -> None:
    values = np.random.default_rng(0).random(11).astype(np.float32) + 0.1
    least, dense = latency(Gates(((), (), ()), SMALL.sides[-1])), latency(full_gates(SMALL))
    allowed = least + budget * (dense - least) + 1e-9
    assert allowed_ms(SMALL, PROFILE, budget) == pytest.approx(allowed)
    on_ladder = ladder_within(values, SMALL, PROFILE, budget, RAISES)
    chosen = choose(values, SMALL, PROFILE, budget, on_ladder.side)
    assert chosen.side == on_ladder.side
    assert latency(on_ladder) <= allowed
    assert latency(chosen) <= allowed
    assert on_ladder.side == side_of(RAISES, on_ladder.size, SMALL) or budget < 1.0
    if budget == 1.0:
        assert chosen == on_ladder == full_gates(SMALL)


def test_shapes_on_the_ladder_grow_out_of_one_another() -> None:
    values = np.random.default_rng(1).random(11).astype(np.float32) + 0.1
    found = [ladder_within(values, SMALL, PROFILE, budget, RAISES) for budget in np.linspace(0.0, 1.0, 40)]
    assert len(set(found)) > 8
    for small, large in pairwise(found):
        assert all(set(a) <= set(b) for a, b in zip(small.active, large.active, strict=True))
        assert (small.side or 16) <= (large.side or 16)
    assert {gates.side for gates in found} == {8, 12, None}


def test_half_of_the_samples_are_for_all_classes_with_the_first_modules_of_every_block() -> None:
    sample = joint_sampler(assembler_of_opinions(), SMALL, PROFILE, len(CLASSES), learning=True)
    draw = np.random.default_rng(0)
    found = [one for _ in range(100) for one in sample(draw, 0.5)]
    general = [one for one in found if len(one.classes) == len(CLASSES)]
    first = [one for one in general if all(on == tuple(range(len(on))) for on in one.gates.active)]
    assert 0.35 < len(first) / len(found) < 0.65


def test_some_samples_have_a_side_that_the_ladder_has_not() -> None:
    sampler = joint_sampler(assembler_of_opinions(), SMALL, PROFILE, len(CLASSES), learning=False)
    sides = [sample.gates.side for seed in range(200) for sample in sampler(np.random.default_rng(seed), 0.5)]
    assert set(sides) == set(SMALL.every_side)
    for side in sides:
        assert side is None or side in SMALL.sides


@pytest.mark.parametrize("budget", [0.001, 0.05, 1.0])
def test_a_side_is_taken_only_where_a_net_keeps_to_the_budget_at_it(budget: float) -> None:
    draw, allowed = np.random.default_rng(0), allowed_ms(SMALL, PROFILE, budget)
    for side in SMALL.every_side:
        near = {side_near(draw, SMALL, PROFILE, budget, side) for _ in range(20)}
        for found in near - {side}:
            assert PROFILE.latency_at(found).predict_ms((0, 0, 0)) <= allowed * (1 + 1e-6)
        places = [SMALL.every_side.index(found) for found in near]
        assert max(abs(place - SMALL.every_side.index(side)) for place in places) <= 1
    if budget == 1.0:
        assert {side_near(draw, SMALL, PROFILE, budget, None) for _ in range(20)} == set(SMALL.every_side[:2])


def test_gradients_go_to_active_modules_and_sum_to_nothing() -> None:
    utilities = torch.zeros(11, requires_grad=True)
    gates = Gates(((0, 2), (), (1, 3)))
    factors = straight_through(utilities, gates, SMALL)
    assert [len(f) for f in factors] == [2, 0, 2]
    assert all(torch.equal(f, torch.ones_like(f)) for f in factors)
    (factors[0][0] * 3.0).backward()
    assert utilities.grad is not None
    assert set(torch.nonzero(utilities.grad).flatten().tolist()) == {0, 2, 8, 10}
    assert utilities.grad[0] > 0 > utilities.grad[2]
    assert abs(float(utilities.grad.sum())) < 1e-6


def test_settled_samples_carry_no_gradients() -> None:
    sample = joint_sampler(assembler_of_opinions(), SMALL, PROFILE, len(CLASSES), learning=False)
    draw = np.random.default_rng(0)
    assert all(one.strengths is None for _ in range(20) for one in sample(draw, 0.9))
