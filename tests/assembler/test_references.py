"""How networks fare on a task is what their answers say, the task's classes alone."""

import io

import numpy as np
import pytest

from assembler.references import MOST_STEPS, STEP, read_references, references_of
from supernet.task import Outputs

DRAW = np.random.default_rng(0)
LABELS = np.arange(60) % 4
LOGITS = DRAW.normal(0.0, 2.0, (2, 60, 4)) + 2.0 * np.eye(4)[LABELS]
REFERENCES = references_of(LOGITS, LABELS)


def odds(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_the_classes_of_a_task_compete_with_one_another_alone() -> None:
    found = REFERENCES.fare(Outputs((2, 0), (0, 1)))
    for network in range(2):
        mine = np.isin(LABELS, (0, 2))
        logits = LOGITS[network, mine][:, [0, 2]]
        right = (logits.argmax(axis=1) == (LABELS[mine] == 2)).mean()
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        sure = np.where(LABELS[mine] == 2, chances[:, 1], chances[:, 0]).mean()
        assert found[network] == pytest.approx(odds(right), abs=0.15)
        assert found[2 + network] == pytest.approx(odds(sure), abs=0.01)


def test_classes_of_one_output_are_not_told_apart() -> None:
    apart, together = (REFERENCES.fare(Outputs((0, 1, 2, 3), of)) for of in ((0, 1, 2, 3), (0, 0, 1, 1)))
    assert (together > apart).all()
    assert np.isfinite(REFERENCES.fare(Outputs((1,), (0,)))).all()


def test_images_of_no_class_asked_for_are_expected_as_often_as_those_of_all_others() -> None:
    found = REFERENCES.fare(Outputs((2, 0, 1, 3), (0, 1, 1, 1)), other=True)
    for network in range(2):
        logits, mine = LOGITS[network], LABELS == 2
        chances = np.exp(logits) * np.array([1 / 3, 1 / 3, 1.0, 1 / 3])
        chance = chances[:, 2] / chances.sum(axis=1)
        sure = (chance[mine].mean() + (1 - chance[~mine]).mean()) / 2
        right = ((chance[mine] > 0.5).mean() + (chance[~mine] <= 0.5).mean()) / 2
        assert found[network] == pytest.approx(odds(right), abs=0.15)
        assert found[2 + network] == pytest.approx(odds(sure), abs=0.01)


def test_they_are_read_as_they_were_written() -> None:
    found = read_references(io.BytesIO(REFERENCES.content))
    assert np.array_equal(found.below, REFERENCES.below)
    assert np.array_equal(found.labels, LABELS)
    assert found.below.max() <= MOST_STEPS
    difference = LOGITS.max(axis=2, keepdims=True) - LOGITS
    assert np.abs(found.below * STEP - np.minimum(difference, MOST_STEPS * STEP)).max() <= STEP / 2 + 1e-6
