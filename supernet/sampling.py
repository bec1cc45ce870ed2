"""Sampling: the class sets that training sees, and those it never sees so that models can be tested on them.

Legend: K classes of the supernet.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Closeness = npt.NDArray[np.float32]

# Of sets of up to so many classes a quarter is kept out of training.
LARGEST_HELD_OUT = 5
# How many of the sampled class sets are of classes that are close to one another.
CLUSTERED_SHARE = 0.5
# One pair for so many classes never occurs in a class set of training.
CLASSES_A_PAIR_APART = 5
SMALLEST_SPLIT = 6
TRIES = 500


def held_out(classes: Sequence[int]) -> bool:
    """Whether a class set is kept out of training: a quarter of all sets of up to 5 classes.

    Args:
        classes: indices, in any order.
    """
    if len(classes) > LARGEST_HELD_OUT:
        return False
    mixed = 0
    for index in sorted(classes):
        mixed = (mixed * 1_000_003 + index + 1) % 2_147_483_647
    return (mixed * 48_271 % 2_147_483_647) % 4 == 0


@lru_cache
def kept_apart(classes: int) -> tuple[tuple[int, int], ...]:
    """Return pairs of classes of which no sampled class set but that of all K holds both; no class is in two.

    Fewer than 6 classes are not parted.
    """
    if classes < SMALLEST_SPLIT:
        return ()
    order = np.random.default_rng(classes).permutation(classes)
    pairs = order[: 2 * (classes // CLASSES_A_PAIR_APART)].reshape(-1, 2)
    return tuple((int(min(pair)), int(max(pair))) for pair in pairs)


def random_task(
    draw: np.random.Generator, classes: int, closeness: Closeness | None = None
) -> tuple[int, ...]:
    """Return a class set of 2 to K classes that is not held out, ascending; all together are never held out.

    Sizes are log-uniform. Half of the sets are clusters where it is known which classes are close.

    Args:
        draw: the generator.
        classes: K.
        closeness: of every class to every other, K x K.
    """
    apart = kept_apart(classes)
    while True:
        size = min(classes, int(math.exp(draw.uniform(math.log(2), math.log(classes + 1)))))
        if closeness is not None and draw.uniform() < CLUSTERED_SHARE:
            chosen = clustered(draw, closeness, size)
        else:
            chosen = tuple(int(c) for c in draw.choice(classes, size, replace=False))
        if size == classes:
            return tuple(range(classes))
        chosen = _parted(draw, chosen, apart)
        if len(chosen) > 1 and not held_out(chosen):
            return chosen


def closeness_of(groups: Sequence[int]) -> Closeness:
    """Return how close classes are that are sorted into groups: 1 within a group, else 0, K x K."""
    of_class = np.asarray(groups)
    return np.asarray(of_class[:, None] == of_class[None, :], np.float32)


def clustered(draw: np.random.Generator, closeness: Closeness, size: int) -> tuple[int, ...]:
    """Return so many classes, ascending: a random one, then always the one that is closest to those chosen.

    Equally close ones are taken at random, and closeness is disturbed, so that clusters differ.
    """
    classes = len(closeness)
    found = [int(draw.integers(classes))]
    while len(found) < size:
        near = closeness[found].sum(axis=0) * np.exp(draw.normal(0.0, 0.5, classes)) + 1e-9 * draw.uniform(
            size=classes
        )
        near[found] = -1.0
        found.append(int(near.argmax()))
    return tuple(sorted(found))


def unseen_task(
    draw: np.random.Generator,
    classes: int,
    closeness: Closeness | None = None,
    sizes: Sequence[int] = (2, 3, 4, 5),
) -> tuple[int, ...]:
    """Return a class set that training never sees, ascending; any set where there is none.

    Args:
        draw: the generator.
        classes: K.
        closeness: of every class to every other, K x K; half of the sets are clusters then.
        sizes: how many classes it may have, up to 5 each.
    """
    for _ in range(TRIES):
        size = min(classes, int(draw.choice(sizes)))
        if closeness is not None and draw.uniform() < CLUSTERED_SHARE:
            chosen = clustered(draw, closeness, size)
        else:
            chosen = tuple(sorted(int(c) for c in draw.choice(classes, size, replace=False)))
        if held_out(chosen) or any(set(pair) <= set(chosen) for pair in kept_apart(classes)):
            break
    return chosen


def _parted(
    draw: np.random.Generator, chosen: Sequence[int], apart: Sequence[tuple[int, int]]
) -> tuple[int, ...]:
    """Return the classes without one of each pair that is kept apart, ascending."""
    left = set(chosen)
    for pair in apart:
        if left.issuperset(pair):
            left.remove(pair[int(draw.integers(2))])
    return tuple(sorted(left))
