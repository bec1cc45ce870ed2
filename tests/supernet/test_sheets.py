"""Contact sheets give back the images that were put on them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.data import load_data
from supernet.errors import DataInvalid

SIDE = 8


def picture(tiles: np.ndarray, columns: int) -> np.ndarray:
    rows = len(tiles) // columns
    sheet = tiles.reshape(rows, columns, SIDE, SIDE, 3).swapaxes(1, 2).reshape(rows * SIDE, columns * SIDE, 3)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8)


def write(folder: Path, split: str, seed: int, **changed: object) -> np.ndarray:
    tiles = np.random.default_rng(seed).integers(0, 256, (24, SIDE, SIDE, 3), np.uint8)
    members: dict[str, object] = {
        "sheet_000": picture(tiles[:12], 4),
        "sheet_001": picture(tiles[12:], 3),
        "y": (np.arange(22) % 3).astype(np.uint8),
        "classes": np.array(["a", "b", "c"]),
        "tile": np.int64(SIDE),
        "n": np.int64(22),
    } | changed
    np.savez(folder / f"toys_{split}.npz", **{k: v for k, v in members.items() if v is not None})
    return tiles[:22]


def test_images_come_in_the_order_of_their_tiles(tmp_path: Path) -> None:
    written = [write(tmp_path, split, seed) for seed, split in enumerate(("train", "val", "test"))]
    data = load_data(tmp_path / "toys")
    assert data.name == "toys"
    assert data.classes == ("a", "b", "c")
    assert data.groups == ()
    for split, tiles in zip((data.train, data.val, data.test), written, strict=True):
        assert np.array_equal(split.images, tiles.transpose(0, 3, 1, 2))
        assert split.labels.tolist() == [index % 3 for index in range(22)]


def test_groups_of_classes_are_read(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        names = np.array(["soft", "hard"])
        write(tmp_path, split, 0, coarse_of_fine=np.array([0, 1, 0], np.uint8), coarse_classes=names)
    data = load_data(tmp_path / "toys")
    assert data.groups == (0, 1, 0)
    assert data.named_groups == {"soft": (0, 2), "hard": (1,)}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"y": None}, "has no member 'y'"),
        ({"tile": np.int64(0)}, "tiles of 0 px"),
        ({"n": np.int64(100)}, "24 tiles for 100 images"),
        ({"sheet_000": np.zeros(10, np.uint8)}, "cannot be read as contact sheets"),
        ({"classes": np.array(["a", "b", "d"])}, "val: other classes"),
    ],
)
def test_what_is_wrong_with_sheets_is_said(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path, split, 0, **(changed if split == "val" else {}))
    with pytest.raises(DataInvalid, match=told):
        load_data(tmp_path / "toys")
