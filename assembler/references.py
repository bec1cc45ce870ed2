"""References: what networks of some sizes say of the validation images. Without torch.

How they fare on the classes of a task foretells how others will.
Legend: R networks, N images, K classes of the supernet.
"""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from assembler.utility import Array
from supernet.task import Outputs

# Kept are eighths by which a logit is less than the image's highest, up to 10 altogether: a chance of 1 in 22,000.
STEP, MOST_STEPS = 1 / 8, 80
# Shares of images are kept within these, so that their log-odds are numbers.
LEAST, MOST = 0.01, 0.995


@dataclass(frozen=True)
class References:
    """``below`` R x N x K, uint8: how far logits are below the image's highest; ``labels`` N, the images' classes."""

    below: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    @property
    def networks(self) -> int:
        """How many networks there are."""
        return len(self.below)

    def fare(self, outputs: Outputs, *, other: bool = False) -> Array:
        """Return how every network fares on the images of a task's classes, 2 R numbers.

        First the log-odds of the share of images whose output is the most probable, then those of the mean probability
        of the image's output; of R networks each. With ``other`` the last output is for all classes not asked for, and
        no more images of those are expected than of all the others.
        """
        rows, of = np.array(outputs.rows), np.array(outputs.of)
        output = np.full(self.below.shape[2], -1)
        output[rows] = of
        wanted = output[self.labels]
        mine = wanted >= 0
        chances = np.exp(-STEP * self.below[:, mine][:, :, rows].astype(np.float32))
        weights = np.ones(int(mine.sum()))
        if other:
            rest = wanted[mine] == outputs.count - 1
            less = min(1.0, (~rest).sum() / max(1, rest.sum()))
            weights[rest] = less
            chances[:, :, of == outputs.count - 1] *= less
        chances /= chances.sum(axis=2, keepdims=True)
        if outputs.merged is not None:
            chances = chances @ np.eye(outputs.count, dtype=np.float32)[of]
        else:
            chances = chances[:, :, np.argsort(of)]
        right = chances.argmax(axis=2) == wanted[mine]
        sure = np.take_along_axis(chances, wanted[mine][None, :, None], axis=2)[:, :, 0]
        weights /= weights.sum()
        share = np.clip(np.concatenate([right @ weights, sure @ weights]), LEAST, MOST)
        odds: Array = np.log(share / (1 - share)).astype(np.float32)
        return odds

    @cached_property
    def content(self) -> bytes:
        """The file that keeps them."""
        file = io.BytesIO()
        np.savez_compressed(file, below=self.below, labels=self.labels.astype(np.uint16))
        return file.getvalue()


def references_of(logits: npt.ArrayLike, labels: npt.NDArray[np.int64]) -> References:
    """Return References.

    Args:
        logits: R x N x K.
        labels: N.
    """
    said = np.asarray(logits, np.float32)
    below = np.round((said.max(axis=2, keepdims=True) - said) / STEP)
    return References(np.minimum(below, MOST_STEPS).astype(np.uint8), labels)


def read_references(file: BinaryIO) -> References:
    """Read what ``References.content`` wrote; raises what NumPy does where it is something else."""
    with np.load(file, allow_pickle=False) as found:
        return References(found["below"], found["labels"].astype(np.int64))
