"""Images that lie in a checkpoint: small ones as they are, photographs as pictures."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.data import Split
from supernet.stored import UNREADABLE, images_bytes, read_images

Shape = tuple[int, int, int]


def smooth(count: int, shape: Shape, seed: int = 0) -> Split:
    """Return coloured slopes, as even as photographs mostly are."""
    draw = np.random.default_rng(seed)
    c, h, w = shape
    ways = draw.uniform(-1, 1, (count, c, 2))
    y, x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j]
    slopes = 128 + 60 * (ways[..., 0, None, None] * y + ways[..., 1, None, None] * x)
    return Split(slopes.astype(np.uint8), draw.integers(0, 300, count))


@given(st.integers(1, 5), st.sampled_from([(1, 16, 16), (3, 32, 32), (3, 64, 64), (1, 96, 96)]))
@settings(max_examples=12, deadline=None)
def test_small_and_gray_images_come_back_as_they_were(count: int, shape: Shape) -> None:
    there = smooth(count, shape), smooth(count + 1, shape, seed=1)
    for here, back in zip(there, read_images(io.BytesIO(images_bytes(*there))), strict=True):
        assert np.array_equal(back.images, here.images)
        assert np.array_equal(back.labels, here.labels)


def test_photographs_come_back_almost_as_they_were_in_a_tenth_of_the_bytes() -> None:
    there = smooth(20, (3, 96, 128)), smooth(3, (3, 96, 128), seed=1)
    content = images_bytes(*there)
    assert len(content) < 23 * 3 * 96 * 128 / 10
    for here, back in zip(there, read_images(io.BytesIO(content)), strict=True):
        assert back.images.shape == here.images.shape
        assert back.images.dtype == np.uint8
        assert np.abs(back.images.astype(int) - here.images).mean() < 3
        assert np.array_equal(back.labels, here.labels)
    assert images_bytes(*there) == content


@pytest.mark.parametrize("cut", [0, 10, 400, -30])
def test_a_torn_archive_is_told_as_one(cut: int) -> None:
    content = images_bytes(smooth(4, (3, 96, 96)), smooth(4, (3, 96, 96)))
    with pytest.raises(UNREADABLE):
        read_images(io.BytesIO(content[:cut]))


def test_a_member_that_is_missing_and_a_picture_that_is_none_are_told() -> None:
    file = io.BytesIO()
    pictures = {"pictures": np.zeros(9, np.uint8), "sizes": np.array([9]), "labels": np.array([0])}
    np.savez(file, **{f"calibration_{name}": array for name, array in pictures.items()})
    with pytest.raises(UNREADABLE):
        read_images(io.BytesIO(file.getvalue()))
    np.savez(file, calibration_labels=np.array([0]))
    with pytest.raises(UNREADABLE):
        read_images(io.BytesIO(file.getvalue()))
