"""The class sets that models are compared on: of several sizes, half of them clusters; training left small ones out.

Legend: K classes of the supernet.
"""

from collections.abc import Sequence

import numpy as np

from supernet.sampling import LARGEST_HELD_OUT, Closeness, clustered, held_out

COUNTS = (2, 3, 5, 8)
SETS = 20
TRIES = 2000
# After so many tries in vain, classes that are not close may count as much as some that are.
PATIENCE = 50


def class_sets(closeness: Closeness, count: int, sets: int = SETS, seed: int = 0) -> list[tuple[int, ...]]:
    """Return different class sets of one size: the even ones are clusters, the odd ones random.

    Those of up to 5 classes are of the quarter that training leaves out. Fewer come back where there are no more.

    Args:
        closeness: K x K.
        count: classes of a set, all K or more give the one set of all.
        sets: how many.
        seed: of the choice.
    """
    classes = len(closeness)
    if count >= classes:
        return [tuple(range(classes))]
    found: list[tuple[int, ...]] = []
    draw = np.random.default_rng((seed, count))
    tries = 0
    while len(found) < sets and tries < TRIES:
        tries += 1
        if is_cluster(len(found)):
            # Where the closest sets are used up or were seen, less close ones are clusters too.
            looser = draw.uniform(0.0, tries / PATIENCE, closeness.shape).astype(np.float32)
            chosen = clustered(draw, closeness + looser * closeness.max(), count)
        else:
            chosen = tuple(sorted(int(c) for c in draw.choice(classes, count, replace=False)))
        if chosen not in found and (count > LARGEST_HELD_OUT or held_out(chosen)):
            found.append(chosen)
            tries = 0
    return found


def is_cluster(index: int) -> bool:
    """Whether the class set at a place of ``class_sets`` is a cluster."""
    return index % 2 == 0


def elsewhere(sets: Sequence[tuple[int, ...]], mine: int) -> tuple[int, ...]:
    """Return the class set of the same kind that has least in common with one of them, the next of equals."""
    others = [*range(mine + 1, len(sets)), *range(mine)]
    alike = [i for i in others if is_cluster(i) == is_cluster(mine)] or others
    return sets[min(alike, key=lambda i: len(set(sets[i]) & set(sets[mine])), default=mine)]
