"""Accuracy is counted among the classes that are asked for."""

import numpy as np
import torch

from supernet.data import Split
from supernet.evaluate import MOST_AT_ONCE, accuracy_of, as_batch, images_of, logits_of, to_calibrate
from supernet.gates import full_gates
from tests.shapes import SMALL
from tests.small import small_images, small_supernet

IMAGES, CALIBRATION = small_images(100, 1), small_images(20, 2)


def test_logits_do_not_depend_on_how_images_are_grouped() -> None:
    supernet = small_supernet()
    dense = full_gates(SMALL)
    many = Split(np.tile(IMAGES.images, (10, 1, 1, 1)), np.tile(IMAGES.labels, 10))
    assert len(IMAGES) < images_of(IMAGES, MOST_AT_ONCE) < len(many)
    whole = logits_of(supernet, dense, CALIBRATION, many)
    part = logits_of(supernet, dense, CALIBRATION, IMAGES)
    assert whole.shape == (6000, 6)
    np.testing.assert_allclose(whole, np.tile(part, (10, 1)), atol=1e-4)


def test_accuracy_among_fewer_classes_is_that_of_their_images_and_rows() -> None:
    supernet = small_supernet()
    dense = full_gates(SMALL)
    found = accuracy_of(supernet, dense, CALIBRATION, IMAGES, (4, 1))
    mine = IMAGES.of_classes([4, 1])
    logits = logits_of(supernet, dense, CALIBRATION, mine)[:, [4, 1]]
    assert found == (logits.argmax(axis=1) == mine.labels).mean()


def test_a_batch_is_float_and_keeps_its_pixels() -> None:
    batch = as_batch(IMAGES.images[:3], torch.device("cpu"))
    assert batch.dtype == torch.float32
    assert np.array_equal(batch.numpy(), IMAGES.images[:3])


def test_few_large_images_or_a_hundred_of_every_class_are_calibrated_on() -> None:
    large = Split(np.zeros((300, 3, 160, 160), np.uint8), np.arange(300) % 3)
    assert len(to_calibrate(large)) == 16_000_000 // (3 * 160 * 160)
    small = Split(np.zeros((300, 3, 8, 8), np.uint8), np.arange(300) % 2)
    assert len(to_calibrate(small)) == 200
    assert np.array_equal(to_calibrate(small).labels, small.labels[:200])
    assert len(to_calibrate(IMAGES)) == 600
