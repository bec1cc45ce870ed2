"""Training is a function of seed and step, and continues where it stopped."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from supernet.elastic import elastic_sampler, random_gates
from supernet.evaluate import accuracy_of
from supernet.gates import full_gates
from supernet.model import Supernet
from supernet.train import (
    Recipe,
    Run,
    batch_indices,
    held_out,
    learning_rate_factor,
    random_task,
    train_steps,
)
from tests.shapes import SMALL
from tests.small import CLASSES, small_images

DATA = small_images(20)
RECIPE = Recipe(epochs=4, batch=24, learning_rate=0.05)


def fresh() -> Run:
    torch.manual_seed(0)
    return Run(Supernet(SMALL, len(CLASSES)), RECIPE)


def test_a_stopped_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    sampler = elastic_sampler(SMALL, len(CLASSES))
    whole = fresh()
    for _ in train_steps(whole, DATA, 8, 20, sampler):
        pass
    first = fresh()
    for _ in train_steps(first, DATA, 3, 20, sampler):
        pass
    first.save(tmp_path / "run.pt")
    second = fresh()
    second.load(tmp_path / "run.pt")
    for _ in train_steps(second, DATA, 8, 20, sampler):
        pass
    assert second.step == whole.step == 8
    for name, tensor in whole.supernet.state_dict().items():
        np.testing.assert_allclose(second.supernet.state_dict()[name].numpy(), tensor.numpy(), atol=1e-6)


def test_training_learns_with_all_modules_and_with_few() -> None:
    run = fresh()
    for _ in train_steps(run, DATA, 60, 60, elastic_sampler(SMALL, len(CLASSES))):
        pass
    unseen = small_images(10, seed=9)
    assert accuracy_of(run.supernet, full_gates(SMALL), DATA, unseen) > 0.7
    few = random_gates(np.random.default_rng(0), SMALL, 0.3)
    assert accuracy_of(run.supernet, few, DATA, unseen) > 0.6


def test_processes_share_a_batch_without_overlap() -> None:
    parts = [batch_indices(RECIPE, 120, step=3, rank=rank, world=3) for rank in range(3)]
    whole = batch_indices(RECIPE, 120, step=3, rank=0, world=1)
    assert sorted(np.concatenate(parts)) == sorted(whole)
    assert len(set(whole.tolist())) == RECIPE.batch


def test_an_epoch_sees_every_image_once() -> None:
    seen = np.concatenate([batch_indices(RECIPE, 120, step, 0, 1) for step in range(5)])
    assert sorted(seen.tolist()) == list(range(120))


def test_the_learning_rate_rises_once_and_falls_to_nothing() -> None:
    factors = [learning_rate_factor(step / 100, 0.1) for step in range(101)]
    assert factors[0] == 0.0
    assert max(factors) == factors[10] == 1.0
    assert factors[100] < 1e-9
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_a_quarter_of_small_class_sets_is_kept_out_of_training() -> None:
    draw = np.random.default_rng(0)
    sets = {tuple(sorted(draw.choice(40, 5, replace=False).tolist())) for _ in range(4000)}
    share = sum(held_out(classes) for classes in sets) / len(sets)
    assert 0.22 < share < 0.28
    assert all(held_out(classes) == held_out(classes[::-1]) for classes in sets)
    assert not any(held_out(random_task(draw, 10)) for _ in range(500))
