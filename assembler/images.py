"""The stored images of a checkpoint, sorted for one task.

Legend: N images, K outputs of the model.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supernet.data import Split
from supernet.task import Task

CALIBRATION_IMAGES = 128
HELD_BACK = 5


@dataclass(frozen=True, slots=True)
class TaskImages:
    """The images of one task, labelled by the place of their class in it; K - 1 for ``other``.

    ``rows`` are the classes' rows of the supernet's head, ``rest`` those of all others where the task has an output
    for them. ``calibration`` holds all classes of the supernet.
    """

    rows: tuple[int, ...]
    rest: tuple[int, ...]
    calibration: Split
    fit: Split
    held_back: Split
    validation: Split


def task_images(task: Task, vocabulary: tuple[str, ...], calibration: Split, validation: Split) -> TaskImages:
    """Sort images for a task.

    Args:
        task: its classes are in the vocabulary.
        vocabulary: names of the supernet's classes.
        calibration: images of all of them, classes interleaved, to calibrate and fit on.
        validation: images of all of them, classes interleaved, to score on.
    """
    rows = tuple(vocabulary.index(name) for name in task.classes)
    rest = tuple(row for row in range(len(vocabulary)) if row not in rows) if task.other else ()

    def mine(split: Split) -> Split:
        chosen = split.of_classes([*rows, *rest])
        labels = np.minimum(chosen.labels, len(rows))
        # As many images of none of the classes as of all of them, or they would outweigh everything; in turns,
        # so that a prefix has the same shares as the whole.
        place = place_in_class(labels)
        kept = np.flatnonzero((labels < len(rows)) | (place < int((labels < len(rows)).sum())))
        turn = (place[kept] + 0.5) / np.bincount(labels[kept])[labels[kept]]
        kept = kept[np.argsort(turn, kind="stable")]
        return Split(chosen.images[kept], labels[kept])

    mine_to_fit = mine(calibration)
    back = place_in_class(mine_to_fit.labels) % HELD_BACK == 0
    return TaskImages(
        rows=rows,
        rest=rest,
        calibration=first(calibration, CALIBRATION_IMAGES),
        fit=Split(mine_to_fit.images[~back], mine_to_fit.labels[~back]),
        held_back=Split(mine_to_fit.images[back], mine_to_fit.labels[back]),
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
