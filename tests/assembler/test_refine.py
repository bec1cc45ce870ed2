"""A refined network is better at its task, and nothing else of the supernet changes."""

import time
from dataclasses import replace

import numpy as np
import torch

from assembler.candidate import cut, screen
from assembler.images import task_images
from assembler.refine import refine
from supernet.gates import prefix_gates
from supernet.task import Kind, Task
from tests.small import CLASSES, small_images, small_supernet

GATES = prefix_gates((1, 2, 2))


def images_for(*classes: str, other: bool = False):
    task = Task(kind=Kind.CLASSIFICATION, classes=classes, other=other)
    return task_images(task, CLASSES, small_images(60, seed=1), small_images(40, seed=2))


def test_a_refined_network_is_better_at_its_task() -> None:
    supernet, images = small_supernet(), images_for("ant", "bee", "cat", "dog")
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    student = refine(supernet, GATES, images, 2.0, teach=False)
    seen = replace(images, calibration=images.fit)
    plain, refined = screen(cut(GATES, supernet, images), images), screen(cut(GATES, student, seen), seen)
    assert refined < 0.95 * plain
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name])
    moved = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"stem.weight", "head.weight"} <= moved


def test_it_takes_as_long_as_it_may_and_serves_an_output_for_none() -> None:
    images = images_for("ant", "bee", other=True)
    began = time.monotonic()
    student = refine(small_supernet(), GATES, images, 0.5)
    assert time.monotonic() - began >= 0.5
    assert all(np.isfinite(tensor.numpy()).all() for tensor in student.state_dict().values())
