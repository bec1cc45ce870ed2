"""A refined network is better at its task, and nothing else of the supernet changes."""

import itertools
import time

import numpy as np
import torch

from assembler.candidate import cut, screen
from assembler.refine import refine
from supernet.gates import prefix_gates
from tests.small import small_images, small_supernet, sorted_images

GATES = prefix_gates((1, 2, 2))


def images_for(*classes: str, other: bool = False):
    return sorted_images(small_images(60, seed=1), small_images(40, seed=2), *classes, other=other)


def run(steps):
    """Return what a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value


def test_a_refined_network_is_better_at_its_task() -> None:
    supernet, images = small_supernet(), images_for("ant", "bee", "cat", "dog")
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    ticks = itertools.count()
    steps = refine(supernet, GATES, images, 120, teach=False, clock=lambda: float(next(ticks)))
    shares, (student, statistics) = run(steps)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.1 < 0.9 < shares[-1] < 1
    cuts = cut(GATES, supernet, images), cut(GATES, student, images, statistics)
    plain, refined = (screen(found).mean() for found in cuts)
    assert refined < 0.95 * plain
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name])
    moved = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"stem.weight", "head.weight"} <= moved


def test_it_takes_as_long_as_it_may_and_serves_an_output_for_none() -> None:
    images = images_for("fish", "mammal", other=True)
    began = time.monotonic()
    _, (student, _) = run(refine(small_supernet(), GATES, images, 0.5))
    assert time.monotonic() - began >= 0.5
    assert all(np.isfinite(tensor.numpy()).all() for tensor in student.state_dict().values())
