"""The ladder leads from no module to all, the most useful first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from assembler.device import Profile
from assembler.ladder import STEP, find_ladder, prune_ladder, worth_of
from assembler.nominal import nominal_profile
from assembler.utility import LOGARITHM_RANGE
from supernet.card import Architecture
from supernet.elastic import elastic_sampler
from supernet.evaluate import as_batch
from supernet.gates import Gates, full_gates, prefix_gates
from supernet.model import Supernet
from supernet.train import Recipe, Run, Sampler, train_steps
from tests.shapes import INVERTED, SMALL
from tests.small import CLASSES, small_images, small_supernet
from tests.working import result_of

PLAIN = SMALL.model_copy(update={"sides": ()})
IMAGES = small_images(20)


def trained(architecture: Architecture, steps: int, sampler: Sampler) -> Supernet:
    torch.manual_seed(0)
    run = Run(Supernet(architecture, len(CLASSES)), Recipe(epochs=4, batch=24, learning_rate=0.05))
    for _ in train_steps(run, IMAGES, steps, steps, sampler):
        pass
    return run.average


def test_the_ladder_goes_through_all_modules() -> None:
    supernet = trained(PLAIN, 20, elastic_sampler(PLAIN, len(CLASSES)))
    ladder = result_of(find_ladder(supernet, nominal_profile(PLAIN), IMAGES, IMAGES))
    assert np.bincount(ladder.blocks).tolist() == [3, 4, 4]
    assert ladder.raises == ()


def test_the_block_without_which_nothing_works_comes_first() -> None:
    supernet = trained(SMALL, 40, lambda draw, progress: [])
    with torch.no_grad():
        for index in (0, 1):  # all modules of these do nothing
            supernet.modular_blocks[index].project.zero_()
    ladder = result_of(find_ladder(supernet, nominal_profile(SMALL), IMAGES, IMAGES))
    assert ladder.blocks[0] == 2


@pytest.mark.parametrize("rungs", [64, 6])
def test_a_ladder_from_above_goes_through_all_modules_and_sides(rungs: int) -> None:
    supernet = small_supernet(architecture=INVERTED)
    ladder = result_of(prune_ladder(supernet, nominal_profile(INVERTED), IMAGES, rungs=rungs))
    assert np.bincount(ladder.blocks).tolist() == [3, 4, 4]
    assert len(ladder.raises) == 1
    assert 0 <= ladder.raises[0] <= 11


def test_a_ladder_from_above_gives_up_first_what_does_nothing_and_last_what_everything_hangs_on() -> None:
    supernet = trained(SMALL, 40, lambda draw, progress: [])
    with torch.no_grad():
        for index in (0, 1):
            supernet.modular_blocks[index].project.zero_()
    ladder = result_of(prune_ladder(supernet, nominal_profile(SMALL), IMAGES))
    assert ladder.blocks[0] == 2
    assert set(ladder.blocks[-5:]) <= {0, 1}


def test_a_ladder_from_above_keeps_what_it_has_seen_right() -> None:
    """The way down that is found with what blocks see kept is the one found by going through whole networks."""
    supernet = small_supernet(architecture=INVERTED)
    profile, dense = nominal_profile(INVERTED), full_gates(INVERTED)
    batch = as_batch(IMAGES.images, torch.device("cpu"))

    def loss(gates: Gates) -> float:
        with torch.no_grad():
            return float(functional.cross_entropy(supernet(batch, gates), torch.from_numpy(IMAGES.labels)))

    here, path, raised = dense, [], False
    while any(here.counts):
        tries = [
            (index, prefix_gates(tuple(n - (i == index) for i, n in enumerate(here.counts)), here.side))
            for index, count in enumerate(here.counts)
            if count
        ]
        if not raised:
            tries.append((-1, replace(here, side=8)))
        index, gates = min(
            tries,
            key=lambda each: (loss(each[1]) - loss(here)) / (spent(profile, here) - spent(profile, each[1])),
        )
        raised |= index < 0
        path += [index] if index >= 0 else []
        here = gates
    assert result_of(prune_ladder(supernet, profile, IMAGES)).blocks == tuple(reversed(path))


def spent(profile: Profile, gates: Gates) -> float:
    return profile.latency_at(gates.side).predict_ms(gates.counts)


def test_worth_falls_along_the_ladder_by_an_even_step() -> None:
    ladder = (1, 2, 1, 0, 2, 1, 0, 2, 2, 0, 1)
    worth = worth_of(ladder, SMALL)
    places = [3, 7, 4, 0, 8, 5, 1, 9, 10, 2, 6]
    steps = np.diff(worth[places].numpy())
    np.testing.assert_allclose(steps, -np.log(STEP), rtol=1e-5)
    assert abs(float(worth.mean())) < 1e-5


def test_a_long_ladder_keeps_to_the_range_of_utilities() -> None:
    blocks = tuple(block.model_copy(update={"modules": 40}) for block in SMALL.blocks)
    worth = worth_of([place % 3 for place in range(120)], SMALL.model_copy(update={"blocks": blocks}))
    assert float(worth.abs().max()) < LOGARITHM_RANGE


def test_the_image_grows_on_the_way_where_it_may_be_shrunk() -> None:
    supernet = trained(SMALL, 20, elastic_sampler(SMALL, len(CLASSES)))
    ladder = result_of(find_ladder(supernet, nominal_profile(SMALL), IMAGES, IMAGES))
    assert np.bincount(ladder.blocks).tolist() == [3, 4, 4]
    assert len(ladder.raises) == 2
    assert list(ladder.raises) == sorted(ladder.raises)
    assert 0 <= ladder.raises[0] <= ladder.raises[1] <= 11
