"""The supernet computes only what its gates switch on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.card import Architecture
from supernet.gates import Gates, full_gates
from supernet.layers import Statistics
from supernet.model import Supernet, calibrate
from tests.shapes import INVERTED, SMALL
from tests.small import CLASSES, small_images, small_supernet
from tests.supernet.test_gates import some_gates

IMAGES = torch.from_numpy(small_images(4).images).float()


both_kinds = st.sampled_from([SMALL, INVERTED])


@settings(deadline=None, max_examples=25)
@given(both_kinds, some_gates)
def test_a_module_that_is_off_does_not_matter(architecture: Architecture, gates: Gates) -> None:
    supernet = small_supernet(architecture=architecture)
    with torch.no_grad():
        before = supernet(IMAGES, gates)
        for block, active in zip(supernet.modular_blocks, gates.active, strict=True):
            off = [m for m in range(block.block.modules) if m not in active]
            rows = block.rows(tuple(off))[block.block.always_channels :]
            block.expand[rows] = 1e3
            block.project[:, rows] = 1e3
        after = supernet(IMAGES, gates)
    assert torch.equal(before, after)


@settings(deadline=None, max_examples=25)
@given(both_kinds, some_gates)
def test_calibrated_statistics_give_what_the_batch_itself_gives(
    architecture: Architecture, gates: Gates
) -> None:
    supernet = small_supernet(architecture=architecture)
    with torch.no_grad():
        by_batch = supernet(IMAGES, gates)
        calibrated = supernet(IMAGES, gates, calibrate(supernet, gates, IMAGES))
    np.testing.assert_allclose(by_batch.numpy(), calibrated.numpy(), atol=1e-4)


@pytest.mark.parametrize("architecture", [SMALL, INVERTED])
def test_every_module_changes_the_answer(architecture: Architecture) -> None:
    supernet = small_supernet(architecture=architecture)
    dense = full_gates(architecture)
    with torch.no_grad():
        whole = supernet(IMAGES, dense)
        for index, block in enumerate(architecture.blocks):
            for module in range(block.modules):
                less = tuple(m for m in range(block.modules) if m != module)
                active = (*dense.active[:index], less, *dense.active[index + 1 :])
                assert (supernet(IMAGES, Gates(active)) - whole).abs().max() > 1e-3


def test_strengths_scale_modules_and_carry_gradients() -> None:
    supernet = small_supernet()
    dense = full_gates(SMALL)
    strengths = [torch.ones(n, requires_grad=True) for n in dense.counts]
    answer = supernet(IMAGES, dense, None, strengths)
    np.testing.assert_allclose(answer.detach().numpy(), supernet(IMAGES, dense).detach().numpy(), atol=1e-5)
    answer.square().sum().backward()
    assert all(bool((s.grad != 0).all()) for s in strengths if s.grad is not None)
    nothing = [torch.zeros(n) for n in dense.counts]
    off = Gates(tuple(() for _ in dense.active))
    np.testing.assert_allclose(
        supernet(IMAGES, dense, None, nothing).detach().numpy(),
        supernet(IMAGES, off).detach().numpy(),
        atol=1e-5,
    )


def test_strengths_scale_inverted_modules_and_carry_gradients() -> None:
    supernet = small_supernet(architecture=INVERTED)
    dense = full_gates(INVERTED)
    strengths = [torch.ones(n, requires_grad=True) for n in dense.counts]
    answer = supernet(IMAGES, dense, None, strengths)
    np.testing.assert_allclose(answer.detach().numpy(), supernet(IMAGES, dense).detach().numpy(), atol=1e-5)
    answer.square().sum().backward()
    assert all(bool((s.grad != 0).all()) for s in strengths if s.grad is not None)


def test_a_fresh_supernet_is_its_trunk() -> None:
    torch.manual_seed(0)
    supernet = Supernet(SMALL, len(CLASSES))
    off = Gates(tuple(() for _ in SMALL.blocks))
    assert torch.equal(supernet(IMAGES, full_gates(SMALL)), supernet(IMAGES, off))


def test_statistics_stand_once_they_are_filled() -> None:
    supernet = small_supernet()
    dense = full_gates(SMALL)
    statistics = calibrate(supernet, dense, IMAGES)
    kept = [moments.mean.clone() for moments in statistics.moments]
    supernet(IMAGES * 0.5, dense, statistics)
    assert all(torch.equal(a.mean, b) for a, b in zip(statistics.moments, kept, strict=True))
    assert isinstance(statistics, Statistics)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_within_a_thousandth() -> None:
    some = Gates(tuple((0, *range(2, block.modules, 2)) for block in SMALL.blocks))
    for gates in (full_gates(SMALL), some):
        found = []
        for device in ("cpu", "cuda"):
            supernet = small_supernet().to(device)
            strengths = [torch.full((count,), 0.5, device=device) for count in gates.counts]
            with torch.backends.cudnn.flags(allow_tf32=False):
                answer = supernet(IMAGES.to(device), gates, None, strengths)
                answer.square().mean().backward()
                statistics = calibrate(supernet, gates, IMAGES.to(device))
                calibrated = supernet(IMAGES.to(device), gates, statistics)
            gradients = [torch.zeros(1) if p.grad is None else p.grad.cpu() for p in supernet.parameters()]
            found.append([answer.detach().cpu(), calibrated.detach().cpu(), *gradients])
        for here, there in zip(*found, strict=True):
            np.testing.assert_allclose(here.numpy(), there.numpy(), atol=1e-3)
