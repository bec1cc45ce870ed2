"""Class sets of training keep out what models are tested on, and cover clusters and sizes."""

import numpy as np
import pytest

from supernet.sampling import closeness_of, clustered, held_out, kept_apart, random_task, unseen_task

GROUPS = tuple(c // 5 for c in range(40))
CLOSE = closeness_of(GROUPS)


def test_a_quarter_of_small_class_sets_is_kept_out_of_training() -> None:
    draw = np.random.default_rng(0)
    sets = {tuple(sorted(draw.choice(40, 5, replace=False).tolist())) for _ in range(4000)}
    share = sum(held_out(classes) for classes in sets) / len(sets)
    assert 0.22 < share < 0.28
    assert all(held_out(classes) == held_out(classes[::-1]) for classes in sets)


@pytest.mark.parametrize("classes", [6, 10, 43, 100])
def test_sampled_sets_are_not_held_out_and_hold_no_pair_that_is_kept_apart(classes: int) -> None:
    draw = np.random.default_rng(0)
    close = closeness_of([c // 5 for c in range(classes)])
    tasks = [random_task(draw, classes, close) for _ in range(500)]
    apart = kept_apart(classes)
    assert len(apart) == classes // 5
    assert len({c for pair in apart for c in pair}) == 2 * len(apart)
    assert not any(held_out(task) for task in tasks)
    parted = [task for task in tasks if len(task) < classes]
    assert not any(set(pair) <= set(task) for task in parted for pair in apart)
    assert all(list(task) == sorted(set(task)) and len(task) >= 2 for task in tasks)
    assert len(parted) < len(tasks) or classes > 40


def test_sizes_are_log_uniform() -> None:
    draw = np.random.default_rng(0)
    sizes = np.array([len(random_task(draw, 100)) for _ in range(2000)])
    assert 0.15 < (sizes <= 4).mean() < 0.3
    assert 0.1 < (sizes > 50).mean() < 0.3


def test_half_of_the_sets_are_of_neighbours_where_they_are_known() -> None:
    draw = np.random.default_rng(0)
    small = [task for task in (random_task(draw, 40, CLOSE) for _ in range(2000)) if len(task) == 4]
    together = np.mean([len({GROUPS[c] for c in task}) == 1 for task in small])
    assert 0.35 < together < 0.65
    alone = [task for task in (random_task(draw, 40) for _ in range(2000)) if len(task) == 4]
    assert np.mean([len({GROUPS[c] for c in task}) == 1 for task in alone]) < 0.05


def test_a_cluster_fills_one_group_after_the_other() -> None:
    draw = np.random.default_rng(0)
    for size in range(2, 41):
        found = clustered(draw, CLOSE, size)
        assert len(set(found)) == size
        groups, counts = np.unique([GROUPS[c] for c in found], return_counts=True)
        assert len(groups) == -(-size // 5)
        assert sorted(counts)[1:] == [5] * (len(groups) - 1) or min(counts) == 5


def test_unseen_sets_are_those_that_training_never_sees() -> None:
    draw = np.random.default_rng(0)
    found = {unseen_task(draw, 10) for _ in range(200)}
    apart = kept_apart(10)
    assert len(found) > 20
    assert all(2 <= len(task) <= 5 for task in found)
    assert all(held_out(task) or any(set(pair) <= set(task) for pair in apart) for task in found)
    assert {len(unseen_task(draw, 100, sizes=(3,))) for _ in range(20)} == {3}


def test_few_classes_still_make_tasks() -> None:
    draw = np.random.default_rng(0)
    assert unseen_task(draw, 2) == random_task(draw, 2) == (0, 1)
    assert {len(random_task(draw, 3)) for _ in range(50)} == {2, 3}


def test_clusters_of_confused_classes_differ_but_prefer_the_most_confused() -> None:
    draw = np.random.default_rng(0)
    close = np.full((10, 10), 0.01, np.float32)
    close[:3, :3] = 0.2
    found = [clustered(draw, close, 3) for _ in range(300)]
    assert len(set(found)) > 20
    assert 0.2 < np.mean([task == (0, 1, 2) for task in found]) < 0.4
