"""Accuracy is counted among the classes that are asked for."""

import numpy as np
import torch

from supernet.data import Split
from supernet.evaluate import MOST_AT_ONCE, accuracy_of, as_batch, logits_of
from supernet.gates import full_gates
from tests.shapes import SMALL
from tests.small import small_images, small_supernet

IMAGES, CALIBRATION = small_images(100, 1), small_images(20, 2)


def test_logits_do_not_depend_on_how_images_are_grouped() -> None:
    supernet = small_supernet()
    dense = full_gates(SMALL)
    many = Split(np.tile(IMAGES.images, (10, 1, 1, 1)), np.tile(IMAGES.labels, 10))
    assert len(IMAGES) < MOST_AT_ONCE // IMAGES.images[0].size < len(many)
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
