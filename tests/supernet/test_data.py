"""Images come in whole or with a sentence that says what is wrong."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.data import Split, load_data
from supernet.errors import DataInvalid
from tests.photos import classes_in, zip_of
from tests.small import small_images


def archive(path: Path, **changed: object) -> Path:
    draw = np.random.default_rng(0)
    members: dict[str, object] = {"classes": np.array(["a", "b"])}
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        members[f"x_{split}"] = draw.integers(0, 256, (count, 12, 12), np.uint8)
        members[f"y_{split}"] = np.arange(count) % 2
    members |= changed
    np.savez(path, **{name: value for name, value in members.items() if value is not None})
    return path


def test_an_archive_is_read_as_channels_first(tmp_path: Path) -> None:
    data = load_data(archive(tmp_path / "two.npz"))
    assert data.name == "two"
    assert data.classes == ("a", "b")
    assert data.train.images.shape == (8, 1, 12, 12)
    assert data.train.images.dtype == np.uint8
    assert len(data.val) == len(data.test) == 4
    assert data.groups == ()
    assert load_data(archive(tmp_path / "two.npz", coarse_of_fine=np.array([0, 3]))).groups == (0, 3)


def test_a_group_that_is_called_as_a_class_is_cannot_be_asked_for(tmp_path: Path) -> None:
    groups = {"coarse_of_fine": np.array([1, 0]), "coarse_classes": np.array(["letters", "a", "none"])}
    data = load_data(archive(tmp_path / "two.npz", **groups))
    assert data.group_names == ("letters", "a", "none")
    assert data.named_groups == {"letters": (1,)}
    with pytest.raises(DataInvalid, match="coarse_classes: names a group twice"):
        load_data(archive(tmp_path / "two.npz", **groups | {"coarse_classes": np.array(["x", "x"])}))


def test_colour_images_are_turned_to_channels_first(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (8, 12, 12, 3), np.uint8)
    others = {"x_val": images[:4], "x_test": images[:4]}
    data = load_data(archive(tmp_path / "two.npz", x_train=images, **others))
    assert np.array_equal(data.train.images, images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"x_val": None}, "has no member 'x_val'"),
        ({"classes": None}, "has no member 'classes'"),
        ({"x_train": np.zeros((8, 12, 12), np.float32)}, "float32, uint8 is needed"),
        ({"x_train": np.zeros((8, 12), np.uint8)}, r"shape \(8, 12\)"),
        ({"y_train": np.zeros(3, np.int64)}, "train: 8 images but 3 labels"),
        ({"y_test": np.array([0, 1, 2, 0])}, r"test: labels must lie in 0\.\.1"),
        ({"y_val": np.array([1, 1, 1, 1])}, "val: class 0 has no images"),
        ({"y_val": np.array(["a", "b", "a", "b"])}, "val: labels are 1-dimensional <U1"),
        ({"y_train": np.zeros((8, 1), np.int64)}, "train: labels are 2-dimensional int64"),
        ({"x_val": np.zeros((4, 16, 16), np.uint8)}, "val: images have another shape"),
        ({"coarse_of_fine": np.array([0])}, "coarse_of_fine: 1 groups are given for 2 classes"),
        ({"coarse_of_fine": np.array(["x", "y"])}, "coarse_of_fine: labels are 1-dimensional <U1"),
        ({"classes": np.array(["a"])}, "names 1 classes"),
        ({"classes": np.array(["a", "a"])}, "names a class twice"),
        ({"x_val": np.zeros((0, 12, 12), np.uint8), "y_val": np.zeros(0, np.int64)}, "val: no images"),
    ],
)
def test_a_faulty_archive_is_refused(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    with pytest.raises(DataInvalid, match=told):
        load_data(archive(tmp_path / "two.npz", **changed))


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    for content in (b"not a zip", b"", b"PK"):
        (tmp_path / "no.npz").write_bytes(content)
        with pytest.raises(DataInvalid, match="cannot be read as a numpy archive"):
            load_data(tmp_path / "no.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataInvalid, match="cannot be read as a numpy archive"):
        load_data(tmp_path / "array.npy")
    with pytest.raises(DataInvalid, match=r"pets: does not exist, nor does pets_train\.npz beside it$"):
        load_data(tmp_path / "pets")
    with pytest.raises(DataInvalid, match=r"does not exist$"):
        load_data(tmp_path / "missing.npz")


def test_a_folder_and_a_zip_are_read_with_a_report(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets" / "train", cat=4, dog=4)
    classes_in(tmp_path / "pets" / "val", 50, cat=2, dog=2)
    for path in (tmp_path / "pets", zip_of(tmp_path / "pets", tmp_path / "pets.zip")):
        data = load_data(path, side_px=16, channels=1)
        assert (data.name, data.classes) == ("pets", ("cat", "dog"))
        assert data.train.images.shape == (6, 1, 16, 16)
        assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert data.report.startswith("2 classes, 12 usable images: train 6, val 2, test 4\n")


def test_the_seed_draws_the_splits_that_are_not_given(tmp_path: Path) -> None:
    classes_in(tmp_path, cat=20, dog=20)
    first, second = (load_data(tmp_path, side_px=8, seed=seed).val.images for seed in (0, 1))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)


def test_a_folder_without_images_and_a_zip_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="no image lies at such a place"):
        load_data(tmp_path)
    (tmp_path / "pets.zip").write_bytes(b"no zip")
    with pytest.raises(DataInvalid, match="cannot be read as a zip"):
        load_data(tmp_path / "pets.zip")


@given(st.sets(st.integers(0, 5), min_size=1), st.randoms())
def test_images_of_some_classes_are_relabelled_by_their_place(chosen: set[int], random: object) -> None:
    split = small_images(3)
    order = list(chosen)
    random.shuffle(order)  # type: ignore[attr-defined]
    mine = split.of_classes(order)
    assert len(mine) == 3 * len(order)
    for image, label in zip(mine.images, mine.labels, strict=True):
        place = int(np.flatnonzero((split.images == image).all(axis=(1, 2, 3)))[0])
        assert split.labels[place] == order[label]


def test_every_prefix_of_a_balanced_split_is_balanced() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, 400)
    split = Split(draw.integers(0, 256, (400, 1, 8, 8), np.uint8), labels)
    chosen = split.balanced(30, seed=2)
    assert len(chosen) == 120
    for end in range(4, 121, 4):
        assert np.bincount(chosen.labels[:end]).tolist() == [end // 4] * 4
