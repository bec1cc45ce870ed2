"""Candidates are cut out, fitted and scored on the right images."""

from dataclasses import replace

import numpy as np
import pytest

from assembler.candidate import (
    HELD_BACK,
    Candidate,
    TaskImages,
    cut,
    finish,
    first,
    place_in_class,
    screen,
    task_images,
)
from supernet.data import Split
from supernet.gates import Gates, full_gates, prefix_gates
from supernet.model import Supernet
from supernet.task import Kind, Task
from tests.shapes import SMALL
from tests.small import CLASSES, small_images, small_supernet

CALIBRATION, VALIDATION = small_images(60, seed=1), small_images(40, seed=2)


def images_for(*classes: str, other: bool = False) -> TaskImages:
    task = Task(kind=Kind.CLASSIFICATION, classes=classes, other=other)
    return task_images(task, CLASSES, CALIBRATION, VALIDATION)


def made(gates: Gates, supernet: Supernet, images: TaskImages) -> Candidate:
    return finish(cut(gates, supernet, images), SMALL, images)


def test_images_are_labelled_in_the_order_of_the_request() -> None:
    images = images_for("dog", "ant")
    assert images.rows == (3, 0)
    for image, label in zip(images.validation.images, images.validation.labels, strict=True):
        place = int(np.flatnonzero((VALIDATION.images == image).all(axis=(1, 2, 3)))[0])
        assert VALIDATION.labels[place] == (3, 0)[label]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_every_class_is_held_back_and_fitted_alike(size: int) -> None:
    images = images_for(*CLASSES[:size])
    assert np.bincount(images.held_back.labels, minlength=size).tolist() == [60 // HELD_BACK] * size
    assert np.bincount(images.fit.labels, minlength=size).tolist() == [60 - 60 // HELD_BACK] * size


def test_other_takes_as_many_images_of_the_classes_not_asked_for() -> None:
    images = images_for("dog", "ant", other=True)
    assert np.bincount(images.validation.labels).tolist() == [40, 40, 80]
    assert set(images.fit.labels.tolist()) == {0, 1, 2}


def test_a_refitted_head_is_better_than_the_supernets_random_one() -> None:
    candidate = made(full_gates(SMALL), small_supernet(), images_for(*CLASSES))
    assert candidate.accuracy > 0.5
    assert candidate.samples == len(VALIDATION)
    assert candidate.subnet.head_weight.shape == (6, 32)


def test_other_is_an_output_of_its_own() -> None:
    candidate = made(full_gates(SMALL), small_supernet(), images_for("ant", "dog", other=True))
    assert candidate.subnet.head_weight.shape == (3, 32)
    assert candidate.accuracy > 0.6


def test_one_class_alone_is_always_right() -> None:
    assert made(prefix_gates((1, 1, 1)), small_supernet(), images_for("ant")).accuracy == 1.0


def test_screening_prefers_a_network_that_knows_its_classes() -> None:
    images = images_for(*CLASSES)
    candidate = cut(full_gates(SMALL), small_supernet(), images)
    finished = finish(candidate, SMALL, images)
    assert screen(replace(candidate, subnet=finished.subnet), images) < screen(candidate, images)


def test_cutting_twice_gives_the_same() -> None:
    one, two = (
        made(prefix_gates((1, 2, 2)), small_supernet(), images_for("ant", "bee", "fox")) for _ in range(2)
    )
    assert one.accuracy == two.accuracy
    for a, b in zip(one.subnet.convolutions, two.subnet.convolutions, strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert np.array_equal(a.bias, b.bias)
    assert np.array_equal(one.subnet.head_weight, two.subnet.head_weight)


def test_places_in_a_class_count_up_and_first_cuts() -> None:
    labels = np.array([2, 0, 2, 2, 0])
    assert place_in_class(labels).tolist() == [0, 0, 1, 2, 1]
    split = Split(np.zeros((5, 1, 2, 2), np.uint8), labels)
    assert first(split, 3).labels.tolist() == [2, 0, 2]
