"""The sizes of convolutions are those that torch computes with them."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from supernet.backbones import LITE0
from supernet.card import Architecture, Stem
from supernet.shapes import ConvShape, module_shapes, neck_shape, shortcut_shape, stem_shapes
from tests.shapes import INVERTED, SMALL

ARCHITECTURES = [SMALL, INVERTED, SMALL.at(8), LITE0.design(side_px=32)]


def path_of(architecture: Architecture) -> list[ConvShape]:
    """Return the convolutions that an image goes through with all modules on, one after the other."""
    path = [*stem_shapes(architecture)]
    for block in architecture.blocks:
        path += module_shapes(architecture, block, block.hidden_channels(block.modules))
    return [*path, neck_shape(architecture)]


def output_of(shape: ConvShape) -> torch.Size:
    """Return the sizes of what torch makes of an image."""
    image = torch.zeros(1, shape.in_channels, shape.height, shape.width)
    padded = F.pad(image, (*shape.padding, *shape.padding))
    return F.conv2d(padded, torch.zeros(shape.weight_shape), None, shape.stride, groups=shape.groups).shape


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_convolution_has_the_weights_and_pixels_it_says(architecture: Architecture) -> None:
    shortcuts = [shortcut_shape(block) for block in architecture.blocks]
    for shape in [*path_of(architecture), *(shape for shape in shortcuts if shape is not None)]:
        _, channels, height, width = output_of(shape)
        assert channels == shape.out_channels
        assert height * width == shape.out_pixels
        assert torch.zeros(shape.weight_shape).numel() == shape.weights
        assert shape.macs == height * width * shape.weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_convolution_takes_what_the_one_before_gives(architecture: Architecture) -> None:
    path, image = path_of(architecture), architecture.input
    assert (path[0].in_channels, path[0].height, path[0].width) == (image.channels, image.height, image.width)
    for one, after in pairwise(path):
        _, channels, height, width = output_of(one)
        assert (after.in_channels, after.height, after.width) == (channels, height, width)
    assert path[-1].out_channels == architecture.neck_channels


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_trunk_ends_at_the_sizes_of_its_modules(architecture: Architecture) -> None:
    for block in architecture.blocks:
        shortcut = shortcut_shape(block)
        if shortcut is not None:
            assert output_of(shortcut) == output_of(module_shapes(architecture, block, 16)[-1])


def test_only_a_fused_block_that_changes_sizes_has_a_convolution_in_its_trunk() -> None:
    assert [shortcut_shape(block) is not None for block in SMALL.blocks] == [False, True, False]
    assert not any(shortcut_shape(block) for block in INVERTED.blocks)


@pytest.mark.parametrize("architecture", [SMALL, INVERTED])
def test_without_hidden_channels_there_is_no_convolution(architecture: Architecture) -> None:
    assert all(module_shapes(architecture, block, 0) == () for block in architecture.blocks)


@given(st.sampled_from([1, 2]), st.sampled_from([3, 5, 7]), st.sampled_from([8, 16, 24]), st.booleans())
def test_a_side_that_the_stride_divides_shrinks_by_just_the_stride(
    stride: int, kernel: int, side: int, late: bool
) -> None:
    update = {
        "input": SMALL.input.model_copy(update={"height": side, "width": side}),
        "stem": Stem(channels=4, kernel=kernel, stride=stride),
        "late_padding": late,
    }
    (shape,) = stem_shapes(SMALL.model_copy(update=update))
    assert output_of(shape)[2:] == (side // stride, side // stride)
