"""Which classes are alike is told by groups, or else by what the dense net confuses."""

import numpy as np
import torch

from assembler.neighbours import neighbours
from supernet.model import Supernet
from supernet.train import Recipe, Run, Sample, train_steps
from tests.shapes import SMALL
from tests.small import CLASSES, small_images


def test_groups_come_first() -> None:
    found = neighbours(Supernet(SMALL, 3), (0, 1, 0), small_images(2), small_images(2))
    assert found.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_what_a_trained_net_confuses_is_close() -> None:
    torch.manual_seed(0)
    data = small_images(20)
    labels = data.labels.copy()
    swapped = np.flatnonzero(labels == 0)[::2]
    labels[swapped] = 1  # half of the first class is learned as the second
    data = type(data)(data.images, labels)
    run = Run(Supernet(SMALL, len(CLASSES)), Recipe(epochs=4, batch=24, learning_rate=0.05))
    for _ in train_steps(run, data, 60, 60, lambda draw, progress: list[Sample]()):
        pass
    found = neighbours(run.average, (), data, small_images(20, seed=3))
    assert found.shape == (6, 6)
    np.testing.assert_allclose(found, found.T)
    assert found[0, 1] == max(found[0])
