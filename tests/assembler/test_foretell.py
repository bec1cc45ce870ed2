"""The predictor is tested on class sets that nobody trained on."""

import numpy as np

from assembler.foretell import unseen_task
from supernet.train import held_out, random_task


def test_unseen_class_sets_are_those_kept_out() -> None:
    draw = np.random.default_rng(0)
    found = {unseen_task(draw, 10) for _ in range(200)}
    assert all(held_out(task) and 2 <= len(task) <= 5 for task in found)
    assert len(found) > 50


def test_a_vocabulary_too_small_to_keep_any_out_still_ends() -> None:
    draw = np.random.default_rng(0)
    assert unseen_task(draw, 2) == (0, 1)
    assert random_task(draw, 2) == (0, 1)
    assert len(random_task(draw, 3)) in (2, 3)
