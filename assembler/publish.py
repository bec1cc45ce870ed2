"""Publish: write what a training run made as a checkpoint with its Card."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from assembler.compile.network import build_assembler, build_predictor
from assembler.train import Setup, Trained
from supernet.backbones import BACKBONES
from supernet.card import Card, DataSource, Figures, Training
from supernet.checkpoint import (
    ASSEMBLER_FILE,
    IMAGES_FILE,
    PREDICTOR_FILE,
    WEIGHTS_FILE,
    file_digests,
    images_bytes,
    named_bytes,
    save_checkpoint,
    weights_bytes,
)
from supernet.data import DataSet, Split
from supernet.evaluate import logits_of
from supernet.gates import full_gates
from supernet.model import Supernet
from supernet.named import NAMED_FILE
from supernet.task import Kind

DENSE_CALIBRATION = 100
MOST_STORED_TO_VALIDATE = 150
SAMPLED_IMAGES = 400
STORED_BYTES = 3_200_000
MOST_NAMED, FEWEST_NAMED = 15_000, 200
MOST_NAMED_TO_VALIDATE, FEWEST_NAMED_TO_VALIDATE = 3000, 20


@dataclass(frozen=True, slots=True)
class Publication:
    """What the Card says beyond the run itself.

    Where ``named_in`` is set, images are only named, by their place in the data set at that path.
    """

    name: str
    source: DataSource
    command: str
    named_in: Path | None = None


def publish(setup: Setup, trained: Trained, publication: Publication, folder: Path) -> Card:
    """Write the checkpoint folder and return its Card.

    Args:
        setup: the finished run.
        trained: what it made.
        publication: name, source and command for the Card.
        folder: is replaced only when the new checkpoint is complete.
    """
    seed = setup.recipe.seed
    to_calibrate = setup.data.train.balanced_indices(setup.per_class[0], seed)
    to_validate = setup.data.val.balanced_indices(setup.per_class[1], seed)
    calibration, validation = setup.data.train.at(to_calibrate), setup.data.val.at(to_validate)
    files = {
        WEIGHTS_FILE: weights_bytes(trained.supernet),
        ASSEMBLER_FILE: build_assembler(trained.assembler),
        PREDICTOR_FILE: build_predictor(trained.foretold.predictor, groups=bool(setup.data.named_groups)),
    }
    if publication.named_in is None:
        files[IMAGES_FILE] = images_bytes(calibration, validation)
    else:
        files[NAMED_FILE] = named_bytes(publication.named_in, to_calibrate, to_validate)
    card = Card(
        name=publication.name,
        kind=Kind.CLASSIFICATION,
        classes=setup.data.classes,
        groups=setup.data.named_groups,
        architecture=setup.architecture,
        data=publication.source,
        training=Training(
            command=publication.command,
            seed=seed,
            epochs=setup.recipe.epochs,
            duration_s=round(trained.seconds, 1),
            augmentation=asdict(setup.recipe.augmentation),
            backbone=None if setup.backbone is None else BACKBONES[setup.backbone].credit,
            machine=f"{platform.machine()}, {os.cpu_count()} cores, {setup.processes} processes on {setup.device}",
            versions={name: version(name) for name in ("torch", "numpy", "onnx", "onnxruntime")},
        ),
        figures=_figures(trained, trained.supernet, calibration, setup.data.test),
        files=file_digests(files),
    )
    save_checkpoint(folder, card, files)
    return card


def stored_per_class(data: DataSet, budget_bytes: int = STORED_BYTES) -> tuple[int, int]:
    """Return how many images of each class to calibrate and to validate on fit into so many compressed bytes.

    At least 16 and 8. A head gains most from many images to fit, so that those take most of the room.
    """
    classes = len(data.classes)
    sample = data.train.balanced(max(1, SAMPLED_IMAGES // classes), seed=0)
    each = len(images_bytes(sample, sample)) / (2 * len(sample))
    room = int(budget_bytes / each / classes)
    to_validate = min(MOST_STORED_TO_VALIDATE, max(8, room // 5))
    return max(16, room - to_validate), to_validate


def named_per_class(classes: int) -> tuple[int, int]:
    """Return how many images of each class to name: as many as can be kept in memory and are of use."""
    return max(MOST_NAMED // classes, FEWEST_NAMED), max(
        MOST_NAMED_TO_VALIDATE // classes, FEWEST_NAMED_TO_VALIDATE
    )


def _figures(trained: Trained, supernet: Supernet, calibration: Split, test: Split) -> Figures:
    logits = logits_of(supernet, full_gates(supernet.architecture), _start(calibration), test)
    right = logits.argmax(axis=1) == test.labels
    by_class = [
        float(right[test.labels == c].mean()) if (test.labels == c).any() else 0.0
        for c in range(logits.shape[1])
    ]
    return Figures(
        dense_accuracy=float(right.mean()),
        dense_accuracy_by_class=tuple(by_class),
        test_images=len(test),
        predictor_error=trained.foretold.error,
        predictor_pairs=trained.foretold.unseen,
    )


def _start(split: Split) -> Split:
    count = min(len(split), DENSE_CALIBRATION * len(np.unique(split.labels)))
    return Split(split.images[:count], split.labels[:count])
