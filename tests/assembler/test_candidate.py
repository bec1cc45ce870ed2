"""Candidates are cut out, fitted and scored on the right images."""

from dataclasses import replace

import numpy as np
import pytest

from assembler.candidate import (
    SURE,
    WAYS,
    Candidate,
    Cut,
    cut,
    finish,
    is_less,
    losses,
    preferred,
    refitted,
    run_all,
    screen,
)
from assembler.images import TaskImages
from assembler.refit import refit_head
from supernet.gates import Gates, full_gates, prefix_gates
from supernet.model import Supernet
from tests.shapes import SMALL
from tests.small import CLASSES, small_images, small_supernet, sorted_images

CALIBRATION, VALIDATION = small_images(60, seed=1), small_images(40, seed=2)


def images_for(*classes: str, other: bool = False) -> TaskImages:
    return sorted_images(CALIBRATION, VALIDATION, *classes, other=other)


def made(gates: Gates, supernet: Supernet, images: TaskImages) -> Candidate:
    return finish(cut(gates, supernet, images), SMALL, images)


def test_a_refitted_head_is_better_than_the_supernets_random_one() -> None:
    candidate = made(full_gates(SMALL), small_supernet(), images_for(*CLASSES))
    assert candidate.accuracy > 0.5
    assert candidate.subnet.head_weight.shape == (6, 32)


def test_other_is_an_output_of_its_own() -> None:
    candidate = made(full_gates(SMALL), small_supernet(), images_for("ant", "dog", other=True))
    assert candidate.subnet.head_weight.shape == (6, 32)
    assert candidate.subnet.outputs == 3
    assert candidate.accuracy > 0.6


def test_one_class_alone_is_always_right() -> None:
    assert made(prefix_gates((1, 1, 1)), small_supernet(), images_for("ant")).accuracy == 1.0


def test_screening_prefers_a_network_that_knows_its_classes() -> None:
    images = images_for(*CLASSES)
    candidate = cut(full_gates(SMALL), small_supernet(), images)
    finished = finish(candidate, SMALL, images)
    assert is_less(screen(replace(candidate, subnet=finished.subnet)), screen(candidate), by=SURE)


def told_right(found: Cut, count: int, gates: Gates, *, after: int = 0) -> Cut:
    """Return a network of other gates that is right about so many more images than another, after the first few."""
    said = found.subnet.logits(found.screened).argmax(axis=1)
    wrong = np.flatnonzero(said != found.answers)[after:]
    assert len(wrong) >= count
    answers = found.answers.copy()
    answers[wrong[:count]] = said[wrong[:count]]
    return replace(found, gates=gates, answers=answers)


def test_a_choice_by_classes_must_be_surely_better_and_another_side_only_likely() -> None:
    plain = cut(Gates(((0,), (0,), (0,))), small_supernet(), images_for(*CLASSES))
    by_classes, shrunk = Gates(((0,), (0,), (1,))), Gates(((0,), (0,), (0,)), 12)
    assert preferred([plain]) == [0]
    assert preferred([plain, told_right(plain, 3, by_classes)]) == [0, 1]
    assert preferred([plain, told_right(plain, 100, by_classes)]) == [1, 0]
    assert preferred([plain, told_right(plain, 3, shrunk)]) == [1, 0]


def test_a_side_that_is_better_by_chance_does_not_lead() -> None:
    plain = cut(Gates(((0,), (0,), (0,))), small_supernet(), images_for(*CLASSES))
    shrunk = Gates(((0,), (0,), (0,)), 12)
    expected, lucky = told_right(plain, 15, plain.gates), told_right(plain, 25, shrunk, after=15)
    assert screen(lucky).mean() < screen(expected).mean()
    assert preferred([expected, lucky]) == [0, 1]
    small = replace(plain, screened=plain.screened[:50], answers=plain.answers[:50])
    assert preferred([small, told_right(plain, 30, shrunk, after=50)]) == [0, 1]


def test_cutting_twice_gives_the_same() -> None:
    one, two = (
        made(prefix_gates((1, 2, 2)), small_supernet(), images_for("ant", "bee", "fox")) for _ in range(2)
    )
    assert one.accuracy == two.accuracy
    for a, b in zip(one.subnet.convolutions, two.subnet.convolutions, strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert np.array_equal(a.bias, b.bias)
    assert np.array_equal(one.subnet.head_weight, two.subnet.head_weight)


def test_a_head_that_fits_only_what_it_was_fitted_on_is_not_taken() -> None:
    supernet, images = small_supernet(), images_for("ant", "bee", "cat")
    found = cut(full_gates(SMALL), supernet, images)
    fitted = refitted(found, images, 400)
    assert fitted is not found.subnet
    draw = np.random.default_rng(0)
    wrong = replace(images.fit, labels=draw.permutation(images.fit.labels))
    assert refitted(replace(found, subnet=fitted), replace(images, fit=wrong), 400) is fitted


def test_a_head_goes_as_far_towards_the_fitted_one_as_validation_images_like_it() -> None:
    supernet, images = small_supernet(), images_for("ant", "bee", "cat")
    found = cut(full_gates(SMALL), supernet, images)
    start, fit = (found.subnet.head_weight, found.subnet.head_bias), images.fit
    end = refit_head(run_all(found.session, fit.images), fit.labels, *start)
    ways = [
        found.subnet.with_head(
            *((1 - way) * mine + way * fitted for mine, fitted in zip(start, end, strict=True))
        )
        for way in (0.0, *WAYS)
    ]
    taken = set()
    for wrong in (0.0, 0.4, 0.7, 1.0):
        answers = found.answers.copy()
        few = np.random.default_rng(0).uniform(size=len(answers)) < wrong
        answers[few] = (answers[few] + 1) % 3
        told = replace(found, answers=answers)
        figures = [float(losses(told.screened, answers, net).mean()) for net in ways]
        mine = float(losses(told.screened, answers, refitted(told, images, 400)).mean())
        assert mine == pytest.approx(min(figures), abs=1e-4)
        taken.add(figures.index(min(figures)))
    assert len(taken) > 2


def test_a_head_is_judged_by_more_images_than_were_screened_where_there_are_more() -> None:
    images = images_for("ant", "bee", "cat")
    # The first six validation images are labelled wrongly; they alone prefer the head that there is.
    labels = images.validation.labels.copy()
    labels[:6] = (labels[:6] + 1) % 3
    images = replace(images, validation=replace(images.validation, labels=labels))
    found = cut(full_gates(SMALL), small_supernet(), images)
    few = replace(found, screened=found.screened[:6], answers=found.answers[:6])
    assert refitted(few, images, 12) is few.subnet
    fitted = refitted(few, images, 400)
    assert fitted is not few.subnet
    assert np.array_equal(fitted.head_weight, refitted(found, images, 400).head_weight)


def test_less_is_surely_less_where_it_is_so_for_most_images() -> None:
    draw = np.random.default_rng(0)
    theirs = draw.uniform(0, 2, 200).astype(np.float32)
    assert is_less(theirs - 0.05, theirs, by=SURE)
    some_images = theirs - draw.normal(0.3, 2.0, 200).astype(np.float32)
    assert some_images.mean() < theirs.mean()
    assert not is_less(some_images, theirs, by=SURE)
    assert not is_less(theirs, theirs, by=SURE)
    assert not is_less(theirs + 0.01, theirs, by=SURE)
    one_image = theirs.copy()
    one_image[0] -= 5.0
    assert one_image.mean() < theirs.mean()
    assert not is_less(one_image, theirs, by=SURE)
