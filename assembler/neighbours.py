"""Neighbours: which classes are alike."""

from collections.abc import Sequence

import torch

from assembler.model import pair_confusion
from supernet.data import Split
from supernet.evaluate import logits_of
from supernet.gates import full_gates
from supernet.model import Supernet
from supernet.sampling import Closeness, closeness_of


def neighbours(supernet: Supernet, groups: Sequence[int], calibration: Split, images: Split) -> Closeness:
    """Return how close the K classes are: those of a group, or else those that the dense net confuses, K x K.

    Args:
        supernet: trained at least in its full net.
        groups: the group of every class, K numbers, or none.
        calibration: images to normalise with.
        images: of every class some, to confuse.
    """
    if groups:
        return closeness_of(groups)
    logits = logits_of(supernet, full_gates(supernet.architecture), calibration, images)
    confusion: Closeness = pair_confusion(torch.from_numpy(logits), torch.from_numpy(images.labels)).numpy()
    return confusion + confusion.T
