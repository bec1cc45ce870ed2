"""Stored images are sorted for the task that asks for them."""

import numpy as np
import pytest

from assembler.images import first, place_in_class, to_calibrate
from supernet.data import Split
from tests.assembler.test_candidate import VALIDATION, images_for
from tests.small import CLASSES, small_images


def test_images_are_labelled_in_the_order_of_the_request() -> None:
    images = images_for("dog", "ant")
    assert images.outputs.rows == (3, 0)
    for image, label in zip(images.validation.images, images.validation.labels, strict=True):
        place = int(np.flatnonzero((VALIDATION.images == image).all(axis=(1, 2, 3)))[0])
        assert VALIDATION.labels[place] == (3, 0)[label]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_every_class_is_fitted_and_validated_alike(size: int) -> None:
    images = images_for(*CLASSES[:size])
    assert np.bincount(images.fit.labels, minlength=size).tolist() == [60] * size
    assert np.bincount(images.validation.labels, minlength=size).tolist() == [40] * size


def test_other_takes_as_many_images_of_the_classes_not_asked_for() -> None:
    images = images_for("dog", "ant", other=True)
    assert np.bincount(images.validation.labels).tolist() == [40, 40, 80]
    assert set(images.fit.labels.tolist()) == {0, 1, 2}
    for end in (8, 40, 100):
        shares = np.bincount(first(images.validation, end).labels, minlength=3) / end
        np.testing.assert_allclose(shares, [0.25, 0.25, 0.5], atol=1.5 / end)


def test_places_in_a_class_count_up_and_first_cuts() -> None:
    labels = np.array([2, 0, 2, 2, 0])
    assert place_in_class(labels).tolist() == [0, 0, 1, 2, 1]
    split = Split(np.zeros((5, 1, 2, 2), np.uint8), labels)
    assert first(split, 3).labels.tolist() == [2, 0, 2]


def test_images_of_a_group_have_the_label_of_its_output() -> None:
    images = images_for("mammal", "eel", "ant", other=True)
    assert images.outputs.rows == (2, 3, 5, 4, 0, 1)
    assert images.outputs.of == (0, 0, 0, 1, 2, 3)
    assert np.bincount(images.validation.labels).tolist() == [120, 40, 40, 40]
    for image, label in zip(images.validation.images, images.validation.labels, strict=True):
        place = int(np.flatnonzero((VALIDATION.images == image).all(axis=(1, 2, 3)))[0])
        assert label == (2, 3, 0, 0, 1, 0)[VALIDATION.labels[place]]


def test_few_large_images_or_a_hundred_of_every_class_are_calibrated_on() -> None:
    large = Split(np.zeros((300, 3, 160, 160), np.uint8), np.arange(300) % 3)
    assert len(to_calibrate(large)) == 16_000_000 // (3 * 160 * 160)
    small = Split(np.zeros((300, 3, 8, 8), np.uint8), np.arange(300) % 2)
    assert len(to_calibrate(small)) == 200
    assert np.array_equal(to_calibrate(small).labels, small.labels[:200])
    assert len(to_calibrate(small_images(100, 1))) == 600
