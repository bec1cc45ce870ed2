"""Shrinking is bilinear interpolation with anti-aliasing, written as a matrix."""

import numpy as np
import pytest
import torch

from supernet.shrink import shrink_matrix


@pytest.mark.parametrize(("size", "side"), [(32, 24), (28, 20), (16, 12), (128, 96), (16, 8)])
def test_the_matrix_does_what_torch_does(size: int, side: int) -> None:
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    matrix = torch.from_numpy(shrink_matrix(size, side).copy())
    expected = torch.nn.functional.interpolate(
        image, (side, side), mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose((matrix @ image @ matrix.T).numpy(), expected.numpy(), atol=1e-5)


def test_an_even_image_stays_even() -> None:
    matrix = shrink_matrix(28, 20)
    assert matrix.shape == (20, 28)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)
    assert (matrix >= 0).all()
