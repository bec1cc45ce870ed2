"""Rivals of generated models have their latency, and are what their names say."""

from pathlib import Path

import numpy as np
import pytest

from assembler.nominal import nominal_profile
from assembler.propose import Estimator
from benchmarks.rivals import Rivals, full_saliency
from supernet.checkpoint import load_checkpoint
from supernet.data import DataSet
from supernet.gates import Gates, prefix_gates
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_images, small_supernet

PROFILE = nominal_profile(SMALL)
DATA = DataSet("stripes", CLASSES, small_images(20, 1), small_images(20, 2), small_images(10, 3))
SHAPES = [prefix_gates((1, 2, 1)), prefix_gates((0, 1, 2), 12), prefix_gates((3, 4, 4))]


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> Rivals:
    folder: Path = tmp_path_factory.mktemp("zoo") / "small"
    card = small_checkpoint(folder, small_supernet())
    return Rivals(load_checkpoint(folder), Estimator(folder, card), PROFILE, DATA)


@pytest.mark.parametrize("shape", SHAPES)
def test_rivals_are_no_slower_than_the_model(rivals: Rivals, shape: Gates) -> None:
    allowed = PROFILE.latency_at(shape.side).predict_ms(shape.counts) * (1 + 1e-6)
    for gates in (rivals.pruned((0, 3), shape), rivals.uniform(shape), rivals.gates_for((0, 3), 1.0, shape)):
        assert gates is not None
        assert gates.side == shape.side
        assert PROFILE.latency_at(gates.side).predict_ms(gates.counts) <= allowed
    assert rivals.gates_for((0, 3), 1.0, shape).counts == shape.counts
    uniform = rivals.uniform(shape)
    assert uniform is not None
    shares = [n / m for n, m in zip(uniform.counts, SMALL.modules, strict=True)]
    assert max(shares) - min(shares) <= 0.5


def test_modules_chosen_without_a_task_are_the_first_ones(rivals: Rivals) -> None:
    everything = tuple(range(len(CLASSES)))
    found = rivals.gates_for(everything, 0.0, SHAPES[0])
    assert found.counts == SHAPES[0].counts
    assert rivals.gates_for((1, 2), 0.0, SHAPES[0]) == found


def test_every_rival_has_an_accuracy(rivals: Rivals) -> None:
    found = rivals.at((0, 3), SHAPES[0], (1, 2)) | rivals.dense((0, 3))
    assert set(found) == {
        "agnostic",
        "agnostic_refit",
        "right_gates",
        "wrong_gates",
        "overlap_with_wrong",
        "pruned",
        "uniform_refit",
        "dense",
        "dense_refit",
    }
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert found["dense_refit"] >= found["dense"] - 0.1


def test_saliency_is_how_much_the_loss_of_a_class_depends_on_a_module(rivals: Rivals) -> None:
    found = full_saliency(rivals.checkpoint)
    assert found.shape == (len(CLASSES), sum(SMALL.modules))
    assert (found >= 0).all()
    assert found.std() > 0
    assert not np.allclose(found[0], found[1])
