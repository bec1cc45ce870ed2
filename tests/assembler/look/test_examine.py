"""What is gathered of a checkpoint: what the dense net answers, and images only where they may be passed on."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from assembler.look.examine import confusion_of, examine
from assembler.look.page import page_of
from assembler.propose import Estimator
from supernet.checkpoint import Checkpoint, file_digests, load_checkpoint, named_bytes, save_checkpoint
from supernet.named import NAMED_FILE
from tests.assembler.look.seen import TEST, answers
from tests.small import CLASSES, small_checkpoint, small_images, small_supernet


def test_every_image_is_counted_once_under_its_class_and_answer(checkpoint: Checkpoint) -> None:
    confusion = confusion_of(checkpoint.supernet, checkpoint.calibration, TEST)
    expected = np.zeros((6, 6), np.int64)
    np.add.at(expected, (TEST.labels, np.array(answers(checkpoint, TEST))), 1)
    assert np.array_equal(confusion, expected)


def test_no_image_is_shown_that_is_right(checkpoint: Checkpoint) -> None:
    few = checkpoint.validation.at(np.arange(36))
    confusion = confusion_of(checkpoint.supernet, checkpoint.calibration, few)
    estimator = Estimator(checkpoint.folder, checkpoint.card)
    found = examine(replace(checkpoint, validation=few), estimator, confusion, "few images").mistakes
    assert found is not None
    assert 0 < confusion.trace() < 36
    for true, mistakes in found.items():
        taken_for = sorted(mistake.taken_for for mistake in mistakes)
        assert taken_for == sorted(np.repeat(np.arange(6), confusion[true] * (np.arange(6) != true)))


def test_a_checkpoint_that_only_names_its_images_shows_none(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    card = small_checkpoint(folder, small_supernet())
    members: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
    for seed, split in enumerate(("train", "val", "test")):
        images = small_images(20, seed)
        members |= {f"x_{split}": images.images[:, 0], f"y_{split}": images.labels}
    np.savez(tmp_path / "stripes.npz", **members)  # type: ignore[arg-type]
    files = {name: (folder / name).read_bytes() for name in card.files if name != "images.npz"}
    files[NAMED_FILE] = named_bytes(tmp_path / "stripes.npz", np.arange(60), np.arange(60))
    save_checkpoint(folder, card.model_copy(update={"files": file_digests(files)}), files)
    named = load_checkpoint(folder, datasets=tmp_path)
    confusion = confusion_of(named.supernet, named.calibration, named.validation)
    page = page_of(examine(named, Estimator(files, named.card), confusion, "validation images"))
    assert confusion.trace() < confusion.sum()
    assert "<img" not in page
    assert "data:image" not in page
    assert "names its images instead of holding them, so none is shown" in page
