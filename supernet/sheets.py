"""Labelled images from contact sheets: a numpy archive a split, with pictures that hold many square tiles.

Legend: N images, S side of a tile in px, K classes.
"""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from supernet.errors import DataInvalid

SUFFIX = ".npz"
Members = dict[str, npt.NDArray[np.generic]]


def sheet_file(path: Path, split: str) -> Path:
    """Return the file of a split of the data set at ``path``, which is a name without split and suffix."""
    return path.with_name(f"{path.name}_{split}{SUFFIX}")


def read_sheets(file: Path) -> Members:
    """Return ``images`` N x S x S x 3 uint8, ``labels`` N, ``classes`` K names; ``coarse_of_fine`` and
    ``coarse_classes`` if they are there.

    Args:
        file: has ``sheet_000`` and so on (bytes of a picture, tiles row by row), ``y``, ``classes``, ``tile`` (S),
            and ``n`` (N).

    Raises:
        DataInvalid: the file cannot be read or a member is missing.
    """
    try:
        with np.load(file) as archive:
            members = {name: archive[name] for name in archive.files}
        sheets = [members[name] for name in sorted(members) if name.startswith("sheet_")]
        side, count = int(members["tile"]), int(members["n"])
        if side < 1:
            raise ValueError(f"tiles of {side} px")
        tiles = np.concatenate([_tiles(sheet.tobytes(), side) for sheet in sheets])[:count]
        found: Members = {"images": tiles, "labels": members["y"], "classes": members["classes"]}
        found |= {name: members[name] for name in ("coarse_of_fine", "coarse_classes") if name in members}
    except KeyError as error:
        raise DataInvalid(file, f"has no member {error}") from error
    except (OSError, ValueError, TypeError, zipfile.BadZipFile, zlib.error, UnidentifiedImageError) as error:
        raise DataInvalid(file, f"cannot be read as contact sheets ({error})") from error
    if len(tiles) < count:
        raise DataInvalid(file, f"has {len(tiles)} tiles for {count} images")
    return found


def _tiles(picture: bytes, side: int) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture)) as image:
        pixels = np.asarray(image.convert("RGB"), np.uint8)
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    cut = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
    return cut.swapaxes(1, 2).reshape(-1, side, side, 3)
