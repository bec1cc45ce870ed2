"""Publish: write what a training run made as a checkpoint with its Card, or one with a new accuracy predictor."""

import io
import os
import platform
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from assembler.compile.network import build_assembler, build_predictor
from assembler.effort import Done
from assembler.foretell import BudgetLadder, Foretold, foretell
from assembler.look.examine import confusion_of, examine
from assembler.look.facts import LOOK_FILE, Counts, accuracy_by_class
from assembler.look.page import page_of
from assembler.nominal import nominal_profile
from assembler.propose import Estimator
from assembler.references import read_references
from assembler.train import Setup, Trained
from assembler.utility import Array
from supernet.backbones import BACKBONES
from supernet.card import Card, DataSource, Figures, Renewal, Training
from supernet.checkpoint import (
    ASSEMBLER_FILE,
    IMAGES_FILE,
    PREDICTOR_FILE,
    REFERENCES_FILE,
    WEIGHTS_FILE,
    Checkpoint,
    file_digests,
    load_checkpoint,
    named_bytes,
    save_checkpoint,
    weights_bytes,
)
from supernet.data import DataSet
from supernet.errors import DataInvalid
from supernet.named import NAMED_FILE
from supernet.stored import are_photographs, images_bytes, read_images
from supernet.task import Kind

TEST_IMAGES = "test images"
MOST_STORED_TO_VALIDATE = 150
SAMPLED_IMAGES = 400
STORED_BYTES, PHOTO_STORED_BYTES = 3_200_000, 4_200_000
FEWEST_STORED = 8
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
    to_calibrate_on = setup.data.train.balanced_indices(setup.per_class[0], seed)
    to_validate_on = setup.data.val.balanced_indices(setup.per_class[1], seed)
    calibration, validation = setup.data.train.at(to_calibrate_on), setup.data.val.at(to_validate_on)
    files = {
        WEIGHTS_FILE: weights_bytes(trained.supernet),
        ASSEMBLER_FILE: build_assembler(trained.assembler),
        PREDICTOR_FILE: build_predictor(trained.foretold.predictor),
        REFERENCES_FILE: trained.foretold.references.content,
    }
    if publication.named_in is None:
        files[IMAGES_FILE] = images_bytes(calibration, validation)
        # As they will be read again, so that the page beside the Card shows what models will be made with.
        calibration, validation = read_images(io.BytesIO(files[IMAGES_FILE]))
    else:
        files[NAMED_FILE] = named_bytes(publication.named_in, to_calibrate_on, to_validate_on)
    confusion = confusion_of(trained.supernet, calibration, setup.data.test)
    card = Card(
        name=publication.name,
        kind=Kind.CLASSIFICATION,
        classes=setup.data.classes,
        groups=setup.data.named_groups,
        architecture=setup.architecture,
        raises=tuple(trained.assembler.raises.tolist()),
        data=publication.source,
        training=Training(
            command=publication.command,
            seed=seed,
            epochs=setup.recipe.epochs,
            duration_s=round(trained.seconds, 1),
            augmentation=asdict(setup.recipe.augmentation),
            backbone=None if setup.backbone is None else BACKBONES[setup.backbone].credit,
            machine=f"{platform.machine()}, {os.cpu_count()} cores, {setup.processes} processes on {setup.device}",
            versions=_versions(),
        ),
        figures=_figures(confusion, trained.foretold),
        files=file_digests(files),
    )
    checkpoint = Checkpoint(folder, card, trained.supernet, calibration, validation)
    _save(checkpoint, files, confusion)
    return card


def renew(
    folder: Path, data: DataSet, pairs: int, command: str, datasets: Path | None = None
) -> Generator[Done, None, Card]:
    """Fit the accuracy predictor of a finished checkpoint anew and return its Card; all else that it has stays.

    Yields how far it is.

    Args:
        folder: the checkpoint, replaced when the new one is complete.
        data: what it was trained on.
        pairs: models that are cut out, see ``foretell``.
        command: for the Card.
        datasets: see ``load_checkpoint``.

    Raises:
        CheckpointDamaged, DataMissing: the checkpoint cannot be read.
        DataInvalid: the data has other classes, or images of another size.
    """
    checkpoint = load_checkpoint(folder, datasets=datasets)
    card, supernet, estimator = checkpoint.card, checkpoint.supernet, Estimator(folder, checkpoint.card)
    calibration, validation = checkpoint.calibration, checkpoint.validation
    if data.classes != card.classes or data.train.images.shape[1:] != calibration.images.shape[1:]:
        raise DataInvalid(folder, f"the data is not what supernet {card.name} was trained on")
    files = {name: (folder / name).read_bytes() for name in card.files}

    def utilities(budget: float) -> Array:
        every = range(len(card.classes))
        return np.concatenate(estimator.utilities(every, budget, weights=(0.0,))[0])

    foretold = yield from foretell(
        supernet,
        BudgetLadder(utilities, card.raises),
        nominal_profile(card.architecture),
        replace(data, train=calibration, val=validation),
        pairs=pairs,
        per_class=(len(calibration), len(validation)),
        seed=card.training.seed,
        references=read_references(io.BytesIO(files[REFERENCES_FILE])),
    )
    files[PREDICTOR_FILE] = build_predictor(foretold.predictor)
    confusion = confusion_of(supernet, calibration, data.test)
    training = card.training.model_copy(update={"renewal": Renewal(command=command, versions=_versions())})
    renewed = card.model_copy(
        update={"training": training, "figures": _figures(confusion, foretold), "files": file_digests(files)}
    )
    _save(replace(checkpoint, card=renewed), files, confusion)
    return renewed


def _save(checkpoint: Checkpoint, files: dict[str, bytes], confusion: Counts) -> None:
    """Write a checkpoint and the page beside its Card."""
    look = examine(checkpoint, Estimator(files, checkpoint.card), confusion, TEST_IMAGES)
    beside = {LOOK_FILE: page_of(look).encode()}
    save_checkpoint(checkpoint.folder, checkpoint.card, files, beside=beside)


def stored_per_class(data: DataSet, budget_bytes: int | None = None) -> tuple[int, int]:
    """Return how many images of each class to calibrate and to validate on fit into so many compressed bytes.

    At least 8 of each. A head gains most from many images to fit, so that those take most of the room.

    Args:
        data: has the images.
        budget_bytes: for both; None is what is usual for images of their kind.
    """
    if budget_bytes is None:
        budget_bytes = PHOTO_STORED_BYTES if are_photographs(data.train) else STORED_BYTES
    classes = len(data.classes)
    sample = data.train.balanced(max(1, SAMPLED_IMAGES // classes), seed=0)
    room = budget_bytes / (len(images_bytes(sample, sample)) / (2 * len(sample)))
    to_validate = min(MOST_STORED_TO_VALIDATE, max(FEWEST_STORED, int(room / classes) // 5))
    room -= np.minimum(np.bincount(data.val.labels, minlength=classes), to_validate).sum()
    return max(FEWEST_STORED, int(room / classes)), to_validate


def named_per_class(classes: int) -> tuple[int, int]:
    """Return how many images of each class to name: as many as can be kept in memory and are of use."""
    return max(MOST_NAMED // classes, FEWEST_NAMED), max(
        MOST_NAMED_TO_VALIDATE // classes, FEWEST_NAMED_TO_VALIDATE
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("nn-factory", "torch", "numpy", "onnx", "onnxruntime")}


def _figures(confusion: Counts, foretold: Foretold) -> Figures:
    by_class = accuracy_by_class(confusion)
    return Figures(
        dense_accuracy=float(confusion.trace() / confusion.sum()),
        dense_accuracy_by_class=tuple(np.nan_to_num(by_class, nan=0.0).tolist()),
        test_images=int(confusion.sum()),
        predictor_error=foretold.error,
        predictor_pairs=foretold.unseen,
    )
