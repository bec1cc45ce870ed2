"""Shrinking an image to a smaller square, as a matrix: the same numbers in training and in the model file."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt


@lru_cache(maxsize=16)
def shrink_matrix(size: int, side: int) -> npt.NDArray[np.float32]:
    """Return the matrix that averages ``size`` pixels to ``side``, side x size, rows sum to 1.

    A triangle as wide as two of the new pixels, so that nothing is skipped: bilinear interpolation with
    anti-aliasing. Columns and rows are shrunk by it one after the other: R x R^T.
    """
    scale = size / side
    centres = (np.arange(side) + 0.5) * scale - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(size)[None, :] - centres[:, None]) / scale)
    found: npt.NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    found.setflags(write=False)
    return found
