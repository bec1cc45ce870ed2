"""Training is a function of seed and step, and continues where it stopped."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from supernet.elastic import elastic_sampler, random_gates
from supernet.evaluate import accuracy_of, as_batch
from supernet.gates import full_gates, prefix_gates
from supernet.losses import features_loss
from supernet.model import Supernet
from supernet.train import (
    Recipe,
    Run,
    batch_indices,
    favoured,
    learning_rate_factor,
    train_steps,
)
from tests.shapes import SMALL
from tests.small import CLASSES, small_images, small_supernet

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


def test_training_in_short_floats_learns_as_well_and_keeps_weights_long() -> None:
    run = fresh()
    run.recipe = replace(RECIPE, bfloat16=True)
    for _ in train_steps(run, DATA, 60, 60, elastic_sampler(SMALL, len(CLASSES))):
        pass
    assert accuracy_of(run.supernet, full_gates(SMALL), DATA, small_images(10, seed=9)) > 0.7
    assert {tensor.dtype for tensor in run.supernet.state_dict().values()} == {torch.float32}
    plain = fresh()
    for _ in train_steps(plain, DATA, 3, 60, lambda draw, progress: []):
        pass
    short = fresh()
    short.recipe = run.recipe
    for _ in train_steps(short, DATA, 3, 60, lambda draw, progress: []):
        pass
    assert not torch.equal(plain.supernet.stem.weight, short.supernet.stem.weight)


def test_training_learns_with_all_modules_and_with_few() -> None:
    run = fresh()
    for _ in train_steps(run, DATA, 60, 60, elastic_sampler(SMALL, len(CLASSES))):
        pass
    unseen = small_images(10, seed=9)
    assert accuracy_of(run.supernet, full_gates(SMALL), DATA, unseen) > 0.7
    few = random_gates(np.random.default_rng(0), SMALL, 0.3)
    assert accuracy_of(run.supernet, few, DATA, unseen) > 0.6


def test_sub_networks_that_imitate_come_nearer_to_the_full_nets_features() -> None:
    def off(imitate: float) -> float:
        run = Run(small_supernet(), replace(RECIPE, imitate=imitate, learning_rate=0.02))
        for _ in train_steps(run, DATA, 60, 60, elastic_sampler(SMALL, len(CLASSES))):
            pass
        batch, quarter = as_batch(DATA.images, torch.device("cpu")), prefix_gates((1, 1, 1))
        with torch.no_grad():
            mine, full = (run.supernet.features(batch, gates) for gates in (quarter, full_gates(SMALL)))
            return float(features_loss(mine, full))

    assert off(1.0) < 0.7 * off(0.0)


def standing() -> Run:
    run = Run(small_supernet(), replace(RECIPE, stands=True, learning_rate=0.02))
    for _ in train_steps(run, DATA, 10, 60, lambda draw, progress: [], leg=(0, 10)):
        pass
    return run


def test_a_part_of_the_way_back_lies_between_what_was_learned_and_the_start() -> None:
    run, start = standing(), small_supernet()
    learned, half, back = run.part_way(0.0), run.part_way(0.5), run.part_way(1.0)
    for a, b, c, d, e in zip(
        *(net.parameters() for net in (run.average, learned, half, back, start)), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.allclose(c, (b + d) / 2, atol=1e-6)
        assert torch.allclose(d, e, atol=1e-6)
    assert not torch.equal(learned.stem.weight, back.stem.weight)


def test_a_teacher_that_stands_stays_while_all_others_learn() -> None:
    run = standing()
    run.start_from(run.part_way(0.5))
    assert run.teacher is not None
    before = {name: tensor.clone() for name, tensor in run.teacher.state_dict().items()}
    for mine in (run.supernet, run.average):
        assert all(torch.equal(tensor, before[name]) for name, tensor in mine.state_dict().items())
    for _ in train_steps(run, DATA, 40, 60, elastic_sampler(SMALL, len(CLASSES)), leg=(10, 60)):
        pass
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.teacher.state_dict().items())
    assert not torch.equal(run.supernet.stem.weight, before["stem.weight"])
    assert not torch.equal(run.average.stem.weight, before["stem.weight"])


def test_the_learning_rate_of_a_leg_is_its_own() -> None:
    def rates(leg: tuple[int, int] | None) -> list[float]:
        run, found = fresh(), []
        for _ in train_steps(run, DATA, 12, 20, lambda draw, progress: [], leg=leg):
            found.append(run.optimizer.param_groups[0]["lr"])
        return found

    assert min(rates(None)[1:]) > 0.4 * RECIPE.learning_rate
    assert rates((0, 12))[-1] < 0.05 * RECIPE.learning_rate


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


def test_a_task_of_few_images_gets_half_of_the_batch() -> None:
    labels = np.repeat(np.arange(10), 30)
    places = np.random.default_rng(0).permutation(300)[:40]
    kept, even = favoured(places, labels, (1, 2, 3), np.random.default_rng(0))
    assert even == 40
    np.testing.assert_array_equal(kept, places)
    swapped, even = favoured(places, labels, (4,), np.random.default_rng(0))
    assert even == 20
    np.testing.assert_array_equal(swapped[:20], places[:20])
    assert (labels[swapped[20:]] == 4).all()
    assert len(set(swapped[20:].tolist())) == 20
    few = np.append(labels, 10)
    swapped, _ = favoured(places, few, (10,), np.random.default_rng(0))
    assert (few[swapped[20:]] == 10).all()
