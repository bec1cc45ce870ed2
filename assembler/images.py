"""The stored images of a checkpoint, sorted for one task.

Legend: N images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supernet.data import Split
from supernet.task import Outputs

CALIBRATION_IMAGES = 128
# To calibrate on before many images are looked at: of a class, and numbers (pixels times channels) in all, since all of
# them go through every layer together.
MOST_OF_A_CLASS, MOST_NUMBERS = 100, 16_000_000


@dataclass(frozen=True, slots=True)
class TaskImages:
    """The images of one task, labelled by the output of their class; those to calibrate on are of all classes."""

    outputs: Outputs
    calibration: Split
    fit: Split
    validation: Split


def task_images(
    outputs: Outputs, calibration: Split, validation: Split, *, other: bool = False
) -> TaskImages:
    """Sort images for a task.

    Args:
        outputs: of the task.
        calibration: images of all classes, interleaved, to calibrate and fit on.
        validation: images of all classes, interleaved, to score on.
        other: whether the last output stands for all classes that were not asked for.
    """
    own = outputs.count - other

    def mine(split: Split) -> Split:
        chosen = split.of_classes(list(outputs.rows))
        labels = np.asarray(outputs.of)[chosen.labels]
        # As many images of none of the classes as of all of them, or they would outweigh everything; in turns,
        # so that a prefix has the same shares as the whole.
        place = place_in_class(labels)
        kept = np.flatnonzero((labels < own) | (place < int((labels < own).sum())))
        turn = (place[kept] + 0.5) / np.bincount(labels[kept])[labels[kept]]
        kept = kept[np.argsort(turn, kind="stable")]
        return Split(chosen.images[kept], labels[kept])

    return TaskImages(
        outputs=outputs,
        calibration=first(calibration, CALIBRATION_IMAGES),
        fit=mine(calibration),
        validation=mine(validation),
    )


def place_in_class(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many images of the same class come before each image, N."""
    place = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        mine = labels == label
        place[mine] = np.arange(int(mine.sum()))
    return place


def first(split: Split, count: int) -> Split:
    """Return the first images of a split."""
    return Split(split.images[:count], split.labels[:count])


def to_calibrate(split: Split) -> Split:
    """Return the first 100 images of every class, fewer where they are large.

    Args:
        split: every prefix holds the classes equally often.
    """
    large = max(1, MOST_NUMBERS // int(np.prod(split.images.shape[1:])))
    return first(split, min(MOST_OF_A_CLASS * len(np.unique(split.labels)), large))


def joined(split: Split, more: Split) -> Split:
    """Return the images of both, those of the first one first."""
    return Split(np.concatenate([split.images, more.images]), np.concatenate([split.labels, more.labels]))
