"""Small published data sets as torchvision keeps them on disk, that tests share."""

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def idx(values: Pixels) -> bytes:
    """Return the content of an idx file of bytes."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def gray_images(count: int, seed: int, side_px: int = 28) -> Pixels:
    """Return gray images of noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, side_px, side_px), np.uint8)


def idx_files(counts: dict[str, int]) -> dict[str, bytes]:
    """Return name -> content of the files of a set like MNIST, its classes one after the other.

    Args:
        counts: images of ``train`` and ``t10k``.
    """
    files = {}
    for seed, (split, count) in enumerate(counts.items()):
        files[f"{split}-images-idx3-ubyte"] = idx(gray_images(count, seed))
        files[f"{split}-labels-idx1-ubyte"] = idx((np.arange(count) % 10).astype(np.uint8))
    return files


def put_idx(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Write such files where torchvision looks for them."""
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    for file, content in files.items():
        (raw / file).write_bytes(content)


def put_gzipped(folder: Path, files: dict[str, bytes]) -> None:
    """Write such files as they are offered for fetching."""
    folder.mkdir()
    for file, content in files.items():
        (folder / f"{file}.gz").write_bytes(gzip.compress(content))
