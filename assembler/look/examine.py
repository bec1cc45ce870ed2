"""Examine: gather what is to be seen of a checkpoint.

Legend: N images, K classes.
"""

import numpy as np

from assembler.images import to_calibrate
from assembler.look.facts import Counts, Look, Mistake, curve_of, worst_classes
from assembler.propose import Estimator
from supernet.checkpoint import IMAGES_FILE, Checkpoint
from supernet.data import Split
from supernet.evaluate import logits_of
from supernet.gates import full_gates
from supernet.model import Supernet

WORST_CLASSES, MISTAKES = 5, 6


def confusion_of(supernet: Supernet, calibration: Split, data: Split) -> Counts:
    """Return how many images of each class the dense net takes for each class, K x K: rows are true classes.

    Args:
        supernet: K classes.
        calibration: every prefix holds the classes equally often.
        data: the images that are counted.
    """
    logits = logits_of(supernet, full_gates(supernet.architecture), to_calibrate(calibration), data)
    classes = logits.shape[1]
    places = data.labels * classes + logits.argmax(axis=1)
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def examine(checkpoint: Checkpoint, estimator: Estimator, confusion: Counts, tried_on: str) -> Look:
    """Return the Look of a checkpoint.

    Images are shown only if the checkpoint holds them itself: others may not be passed on.

    Args:
        checkpoint: need not be written yet.
        estimator: of the checkpoint.
        confusion: see ``confusion_of``.
        tried_on: which images that was, in words.
    """
    card = checkpoint.card
    worst = worst_classes(confusion, WORST_CLASSES)
    mistakes = _mistakes(checkpoint, worst) if IMAGES_FILE in card.files else None
    return Look(card, tried_on, confusion, curve_of(estimator), mistakes)


def _mistakes(checkpoint: Checkpoint, classes: list[int]) -> dict[int, tuple[Mistake, ...]]:
    """Return the validation images of some classes that the dense net is most surely wrong about."""
    supernet, data = checkpoint.supernet, checkpoint.validation
    logits = logits_of(
        supernet, full_gates(supernet.architecture), to_calibrate(checkpoint.calibration), data
    )
    taken_for = logits.argmax(axis=1)
    by_how_much = logits.max(axis=1) - logits[np.arange(len(data)), data.labels]
    order = np.argsort(-by_how_much, kind="stable")
    wrong = order[taken_for[order] != data.labels[order]]
    return {
        each: tuple(
            Mistake(data.images[place], int(taken_for[place]))
            for place in wrong[data.labels[wrong] == each][:MISTAKES]
        )
        for each in classes
    }
