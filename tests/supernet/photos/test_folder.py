"""A folder or zip of photographs is read as a whole, and one report tells what was left out or why it is refused."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supernet.errors import DataInvalid
from supernet.photos.findings import Kind
from supernet.photos.folder import FolderImages, read_folder
from tests.photos import classes_in, encoded, photo, png_header, put, zip_of, zipped

PETS = {"cat": 8, "dog": 10}


def read(path: Path, seed: int = 0) -> FolderImages:
    return read_folder(path, side_px=16, channels=3, seed=seed)


def counts(found: FolderImages) -> dict[str, list[int]]:
    return {split: np.bincount(labels).tolist() for split, (_, labels) in found.splits.items()}


def names(found: FolderImages, kind: Kind) -> list[str]:
    return [finding.name for finding in found.report.of(kind)]


def refusal(path: Path) -> str:
    with pytest.raises(DataInvalid) as caught:
        read(path)
    return caught.value.reason


def split_pets(root: Path) -> Path:
    """Write 6 images a class for train, 2 for val and 3 for test."""
    for first, (split, count) in enumerate((("train", 6), ("val", 2), ("test", 3))):
        classes_in(root / split, 100 * first, cat=count, dog=count)
    return root


def test_given_splits_are_kept_in_the_order_of_class_and_file(tmp_path: Path) -> None:
    found = read(split_pets(tmp_path))
    assert found.classes == ("cat", "dog")
    assert counts(found) == {"train": [6, 6], "val": [2, 2], "test": [3, 3]}
    images, labels = found.splits["val"]
    assert (images.dtype, images.shape, labels.dtype) == (np.uint8, (4, 3, 16, 16), np.int64)
    for place, number in enumerate((100, 101, 102, 103)):
        expected = photo(number).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(images[place], np.asarray(expected).transpose(2, 0, 1))
    assert str(found.report).startswith("2 classes, 22 usable images: train 12, val 4, test 6\n")
    assert not found.report.findings


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_has_several_names(tmp_path: Path, name: str) -> None:
    split_pets(tmp_path)
    (tmp_path / "val").rename(tmp_path / name)
    assert counts(read(tmp_path))["val"] == [2, 2]


def test_two_folders_for_val_are_refused(tmp_path: Path) -> None:
    classes_in(split_pets(tmp_path) / "valid", 900, cat=2)
    assert "val, valid (several folders for one split)" in refusal(tmp_path)


def test_classes_without_splits_are_split_the_same_way_every_time(tmp_path: Path) -> None:
    classes_in(tmp_path, cat=20, dog=4)
    found, again, other = read(tmp_path), read(tmp_path), read(tmp_path, seed=1)
    assert counts(found) == {"train": [14, 2], "val": [3, 1], "test": [3, 1]}
    for split, (images, labels) in found.splits.items():
        assert np.array_equal(images, again.splits[split][0])
        assert np.array_equal(labels, again.splits[split][1])
    assert not np.array_equal(found.splits["val"][0], other.splits["val"][0])
    together = np.concatenate([images for images, _ in found.splits.values()])
    assert len(np.unique(together.reshape(24, -1), axis=0)) == 24
    assert names(found, Kind.DIVIDED) == ["val and test"]


def test_a_zip_and_a_zip_with_a_wrapping_folder_give_the_same(tmp_path: Path) -> None:
    split_pets(tmp_path / "pets")
    expected = read(tmp_path / "pets").splits
    mac = {"__MACOSX/pets/train/cat/._00.png": b"", ".DS_Store": b""}
    for number, prefix in enumerate(("", "pets/")):
        file = zip_of(tmp_path / "pets", tmp_path / f"{number}.zip", prefix)
        for split, (images, labels) in read(file).splits.items():
            assert np.array_equal(images, expected[split][0])
            assert np.array_equal(labels, expected[split][1])
    members = {
        f"pets/{path.relative_to(tmp_path / 'pets')}": path for path in (tmp_path / "pets").rglob("*.png")
    }
    file = zipped(tmp_path / "mac.zip", {name: path.read_bytes() for name, path in members.items()} | mac)
    found = read(file)
    assert counts(found) == {"train": [6, 6], "val": [2, 2], "test": [3, 3]}
    assert names(found, Kind.PASSED_OVER) == sorted(mac)


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    assert read(classes_in(tmp_path, train=5, bus=5)).classes == ("bus", "train")


def test_accents_are_one_class_however_they_are_written(tmp_path: Path) -> None:
    classes_in(tmp_path / "train", **{"Ka\u0308se": 4, "Brot": 4})
    classes_in(tmp_path / "val", 50, **{"K\u00e4se": 2, "Brot": 2})
    assert read(tmp_path).classes == ("Brot", "K\u00e4se")


def test_without_val_some_of_train_is_taken_and_without_test_val_is_used(tmp_path: Path) -> None:
    classes_in(tmp_path / "train", cat=20, dog=10)
    found = read(tmp_path)
    assert counts(found) == {"train": [14, 6], "val": [3, 2], "test": [3, 2]}
    assert names(found, Kind.DIVIDED) == ["val and test"]
    assert "train 20, val 5, test 5" in str(found.report)


def test_what_is_kept_aside_as_val_alone_is_tested_on_and_not_chosen_by(tmp_path: Path) -> None:
    split_pets(tmp_path)
    own = read(tmp_path).splits["val"]
    shutil.rmtree(tmp_path / "test")
    found = read(tmp_path)
    assert found.splits["test"][0].tobytes() == own[0].tobytes()
    assert names(found, Kind.DIVIDED) == ["test", "val"]
    of_val = {image.tobytes() for image in found.splits["val"][0]}
    assert of_val
    assert not of_val & {image.tobytes() for image in [*found.splits["test"][0], *found.splits["train"][0]]}


def test_a_class_without_images_in_val_gets_some_of_train_in_its_place(tmp_path: Path) -> None:
    split_pets(tmp_path)
    classes_in(tmp_path / "train", 500, bat=7, eel=7)
    classes_in(tmp_path / "val", 600, bat=1)
    found = read(tmp_path)
    assert found.classes == ("bat", "cat", "dog", "eel")
    assert counts(found)["train"] == [7, 6, 6, 6]
    assert found.splits["val"][1].tolist() == [0, 1, 1, 2, 2, 3]
    assert [str(one) for one in found.report.of(Kind.MOVED)] == ["eel (1 of 7)"]
    assert names(found, Kind.UNTESTED) == ["bat", "eel"]


def test_a_test_split_without_usable_images_counts_as_missing(tmp_path: Path) -> None:
    split_pets(tmp_path)
    for file in (tmp_path / "test").rglob("*.png"):
        file.write_bytes(b"no image")
    found = read(tmp_path)
    assert names(found, Kind.DIVIDED) == ["test", "val"]
    assert len(names(found, Kind.BROKEN)) == 6


def test_a_class_that_is_not_in_train_is_refused(tmp_path: Path) -> None:
    split_pets(tmp_path)
    classes_in(tmp_path / "val", 500, bat=5)
    classes_in(tmp_path / "test", 600, eel=5)
    told = refusal(tmp_path)
    assert "  bat (5 in val or test)\n  eel (5 in val or test)" in told
    assert "cat" not in told.split("usable images:")[0]


def test_splits_without_train_are_refused(tmp_path: Path) -> None:
    classes_in(tmp_path / "val", cat=5, dog=5)
    classes_in(tmp_path / "test", 50, cat=5, dog=5)
    assert "splits without a folder 'train'" in refusal(tmp_path)


def test_a_folder_without_images_or_with_one_class_is_refused(tmp_path: Path) -> None:
    assert "no image lies at such a place" in refusal(tmp_path)
    put(tmp_path / "1.png", 1)
    assert "no image lies at such a place" in refusal(tmp_path)
    assert "at least 2 classes are needed:\n  cat (1 found)" in refusal(classes_in(tmp_path, cat=9))


def test_classes_with_too_few_images_are_all_named_with_their_counts(tmp_path: Path) -> None:
    classes_in(tmp_path, cat=3, dog=4, **{f"eel {number:02}": 1 for number in range(12)})
    told = refusal(tmp_path)
    assert "  cat (3 in all)\n" in told
    assert all(f"  eel {number:02} (1 in all)\n" in told for number in range(12))
    assert "dog (4" not in told.split("usable images")[0]


def test_broken_images_count_as_missing(tmp_path: Path) -> None:
    classes_in(tmp_path, cat=4, dog=4)
    put(tmp_path / "dog" / "03.png", encoded(photo(900))[:200])
    told = refusal(tmp_path)
    assert "dog (3 in all)" in told
    assert "broken images, skipped: 1\n  dog/03.png (" in told


def test_a_class_of_which_no_image_may_be_opened_is_refused_and_not_left_out(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=4, dog=4)
    (tmp_path / "pets" / "owl").mkdir()
    for number in range(5):
        (tmp_path / "pets" / "owl" / f"{number}.png").symlink_to(put(tmp_path / f"{number}.png", 50 + number))
    assert "owl (0 in all)" in refusal(tmp_path / "pets")


def test_everything_found_is_in_one_report(tmp_path: Path) -> None:
    classes_in(tmp_path, cat=8, dog=8)
    put(tmp_path / "cat" / "text.jpg", b"a text")
    put(tmp_path / "cat" / "small.png", photo(700, (40, 7)))
    put(tmp_path / "cat" / "notes.txt", b"notes")
    put(tmp_path / "cat" / "raw" / "1.png", 701)
    put(
        tmp_path / "dog" / "moving.gif", encoded(photo(702), "GIF", save_all=True, append_images=[photo(703)])
    )
    put(tmp_path / "dog" / "huge.png", png_header(20_000, 20_000))
    (tmp_path / "dog" / "heavy.png").touch()
    os.truncate(tmp_path / "dog" / "heavy.png", 65 * 2**20)
    (tmp_path / "dog" / "out.png").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    (tmp_path / "owl").mkdir()
    found = read(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [(one.kind, one.name) for one in found.report.findings] == [
        (Kind.BROKEN, "cat/text.jpg"),
        (Kind.LARGE, "dog/huge.png"),
        (Kind.HEAVY, "dog/heavy.png"),
        (Kind.SMALL, "cat/small.png"),
        (Kind.LINK, "dog/out.png"),
        (Kind.SPECIAL, "dog/pipe.png"),
        (Kind.EMPTY, "owl"),
        (Kind.FRAMES, "dog/moving.gif"),
        (Kind.DIVIDED, "val and test"),
        (Kind.PASSED_OVER, "cat/notes.txt"),
        (Kind.PASSED_OVER, "cat/raw/1.png"),
    ]
    assert "images a class: 8 (cat) to 9 (dog), 1.1 times as many" in str(found.report)
    assert str(tmp_path) not in str(found.report)


def test_the_same_pixels_are_in_one_split_and_class_only(tmp_path: Path) -> None:
    split_pets(tmp_path)
    put(tmp_path / "train" / "cat" / "again.bmp", encoded(photo(0), "BMP"))
    put(tmp_path / "train" / "cat" / "of val.png", 100)
    put(tmp_path / "val" / "cat" / "of test.png", 200)
    put(tmp_path / "test" / "dog" / "cat 5.png", 5)
    found = read(tmp_path)
    assert names(found, Kind.REPEATED) == ["train/cat/again.bmp"]
    assert names(found, Kind.LEAKED) == ["train/cat/of val.png", "val/cat/of test.png"]
    assert names(found, Kind.CLASHING) == ["test/dog/cat 5.png", "train/cat/05.png"]
    assert counts(found) == {"train": [5, 6], "val": [2, 2], "test": [3, 3]}


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "\udcff", "a" * 101])
def test_class_names_that_cannot_be_used_are_refused_and_named_safely(tmp_path: Path, name: str) -> None:
    told = refusal(classes_in(tmp_path, **{name: 4, "cat": 4}))
    assert told.split("\n")[1].startswith("class names must have 1 to 100 characters")
    assert told.split("\n")[2].isprintable()
    assert len(told.split("\n")[2]) < 140
    assert "cat" not in told.split("\n")[2]


def test_a_nul_in_a_class_name_of_a_zip_is_refused(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=4, dog=4)
    file = zip_of(tmp_path / "pets", tmp_path / "pets.zip")
    file.write_bytes(file.read_bytes().replace(b"dog/", b"d\0g/"))
    assert "'d\\x00g'" in refusal(file)


def test_a_zip_tells_what_it_did_not_open(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=5, dog=5)
    members = {
        path.relative_to(tmp_path / "pets").as_posix(): path for path in (tmp_path / "pets").rglob("*.png")
    }
    content = {name: path.read_bytes() for name, path in members.items()}
    file = zipped(
        tmp_path / "pets.zip", content | {"../cat/1.png": b"x", "dog/inflating.png": bytes(65 * 2**20)}
    )
    found = read(file)
    assert counts(found) == {"train": [3, 3], "val": [1, 1], "test": [1, 1]}
    assert names(found, Kind.OUTSIDE) == ["../cat/1.png"]
    assert [str(one) for one in found.report.of(Kind.HEAVY)] == ["dog/inflating.png (65 MB)"]


def test_a_damaged_or_encrypted_entry_of_a_zip_is_named(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=5, dog=5)
    file = zip_of(tmp_path / "pets", tmp_path / "pets.zip")
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 9] ^= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    file.write_bytes(content)
    found = read(file)
    assert names(found, Kind.UNREADABLE) == ["cat/00.png"]
    assert names(found, Kind.ENCRYPTED) == ["dog/04.png"]


def test_classes_csv_gives_groups_by_name_of_class(tmp_path: Path) -> None:
    classes_in(tmp_path, **PETS)
    assert read(tmp_path).groups == ((), ())
    put(
        tmp_path / "classes.csv",
        b"fine_id,fine,coarse_id,coarse\n0,dog,4,loud\n1,cat,2,quiet\n2,owl,2,quiet\n",
    )
    found = read(tmp_path)
    assert found.groups == ((0, 1), ("quiet", "loud"))
    assert not names(found, Kind.PASSED_OVER)
    assert read(zip_of(tmp_path, tmp_path / "pets.zip", "wrapped/")).groups == found.groups


def test_a_faulty_classes_csv_is_refused_in_the_same_report(tmp_path: Path) -> None:
    classes_in(tmp_path, cat=8, dog=3)
    put(tmp_path / "classes.csv", b"fine_id,fine,coarse_id,coarse\n0,dog,4,loud\n")
    told = refusal(tmp_path)
    assert "classes.csv (class cat is missing)" in told
    assert "dog (3 in all)" in told


def test_gray_images_have_one_channel(tmp_path: Path) -> None:
    found = read_folder(classes_in(tmp_path, **PETS), side_px=12, channels=1)
    assert found.splits["train"][0].shape == (12, 1, 12, 12)
