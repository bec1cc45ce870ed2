"""Labelled images from numpy archives, contact sheets, image folders and zips, and published data sets.

Legend: N images, C channels, H height, W width, K classes. Pixels are uint8, 0..255.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supernet.errors import DataInvalid
from supernet.photos.folder import FolderImages, is_zip, read_folder
from supernet.published import is_published, name_of, read_published
from supernet.sheets import Members, read_sheets, sheet_file

SPLITS = ("train", "val", "test")
USUAL_SIDE_PX = 32


@dataclass(frozen=True, slots=True)
class Split:
    """Images N x C x H x W uint8 and their labels N int64 in 0..K-1."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """How many images."""
        return len(self.labels)

    def of_classes(self, classes: list[int]) -> "Split":
        """Return the images of some classes, relabelled by their place in ``classes``."""
        place = np.full(int(self.labels.max(initial=0)) + 1, -1, np.int64)
        place[classes] = np.arange(len(classes))
        kept = place[self.labels] >= 0
        return Split(self.images[kept], place[self.labels[kept]])

    def balanced(self, per_class: int, seed: int) -> "Split":
        """Return up to ``per_class`` images of every class, drawn with a seed, classes interleaved."""
        return self.at(self.balanced_indices(per_class, seed))

    def at(self, places: npt.NDArray[np.int64]) -> "Split":
        """Return the images at some places, in their order."""
        return Split(self.images[places], self.labels[places])

    def balanced_indices(self, per_class: int, seed: int) -> npt.NDArray[np.int64]:
        """Return which images ``balanced`` takes, in its order, int64."""
        draw = np.random.default_rng(seed)
        order = draw.permutation(len(self))
        rank = np.zeros(len(self), np.int64)
        for label in np.unique(self.labels):
            mine = order[self.labels[order] == label]
            rank[mine] = np.arange(len(mine))
        chosen = np.flatnonzero(rank < per_class)
        return chosen[np.lexsort((self.labels[chosen], rank[chosen]))]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Three splits of one vocabulary.

    ``groups`` are the groups of similar classes, one number a class, if known; ``group_names`` their names. ``report``
    says what reading a folder, zip or published data set found.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    groups: tuple[int, ...] = ()
    group_names: tuple[str, ...] = ()
    report: str = ""

    @property
    def named_groups(self) -> dict[str, tuple[int, ...]]:
        """The groups that have a name which is no class's: name -> classes."""
        found = {
            name: tuple(c for c, group in enumerate(self.groups) if group == number)
            for number, name in enumerate(self.group_names)
            if name not in self.classes
        }
        return {name: members for name, members in found.items() if members}


def _as_nchw(images: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise DataInvalid(path, f"images are {images.dtype}, uint8 is needed")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[-1] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    raise DataInvalid(path, f"images have shape {images.shape}, N x H x W or N x H x W x 1 or 3 is needed")


def _check(split: Split, classes: int, where: str, path: Path) -> Split:
    if len(split.images) != len(split.labels):
        raise DataInvalid(path, f"{where}: {len(split.images)} images but {len(split.labels)} labels")
    if len(split) == 0:
        raise DataInvalid(path, f"{where}: no images")
    if split.labels.min() < 0 or split.labels.max() >= classes:
        raise DataInvalid(path, f"{where}: labels must lie in 0..{classes - 1}")
    missing = np.flatnonzero(np.bincount(split.labels, minlength=classes) == 0)
    if len(missing) and where != "test":
        raise DataInvalid(path, f"{where}: class {missing[0]} has no images")
    return split


def _labels(found: npt.NDArray[np.generic], where: str, path: Path) -> npt.NDArray[np.int64]:
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise DataInvalid(
            path, f"{where}: labels are {found.ndim}-dimensional {found.dtype}, whole numbers are needed"
        )
    return found.astype(np.int64)


def load_archive(path: Path) -> DataSet:
    """Read a numpy archive with ``x_train y_train x_val y_val x_test y_test classes`` and perhaps ``coarse_of_fine``
    and ``coarse_classes``.

    Raises:
        DataInvalid: the file cannot be read, a member is missing, or shapes, types or labels do not agree.
    """
    try:
        with np.load(path) as archive:
            members = {name: archive[name] for name in archive.files}
    except (
        OSError,
        EOFError,
        TypeError,
        AttributeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataInvalid(path, f"cannot be read as a numpy archive ({error})") from error
    needed = {f"{axis}_{split}" for axis in "xy" for split in SPLITS} | {"classes"}
    if missing := sorted(needed - members.keys()):
        raise DataInvalid(path, f"has no member {missing[0]!r}")
    classes = _classes(members["classes"], path)
    splits: dict[str, Split] = {}
    for split in SPLITS:
        images, labels = _as_nchw(members[f"x_{split}"], path), _labels(members[f"y_{split}"], split, path)
        splits[split] = _check(Split(images, labels), len(classes), split, path)
        if images.shape[1:] != splits["train"].images.shape[1:]:
            raise DataInvalid(path, f"{split}: images have another shape than those of train")
    return DataSet(
        path.stem,
        classes,
        splits["train"],
        splits["val"],
        splits["test"],
        *_groups(members, len(classes), path),
    )


def _classes(found: npt.NDArray[np.generic], path: Path) -> tuple[str, ...]:
    classes = tuple(str(name) for name in found.reshape(-1))
    if len(classes) < 2:
        raise DataInvalid(path, f"names {len(classes)} classes, at least 2 are needed")
    if len(set(classes)) < len(classes):
        raise DataInvalid(path, "names a class twice")
    return classes


def _groups(members: Members, classes: int, path: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if "coarse_of_fine" not in members:
        return (), ()
    groups = _labels(members["coarse_of_fine"], "coarse_of_fine", path)
    if len(groups) != classes:
        raise DataInvalid(path, f"coarse_of_fine: {len(groups)} groups are given for {classes} classes")
    names = tuple(str(name) for name in members.get("coarse_classes", np.empty(0)).reshape(-1))
    if len(set(names)) < len(names):
        raise DataInvalid(path, "coarse_classes: names a group twice")
    return tuple(groups.tolist()), names


def load_folder(path: Path, *, side_px: int, channels: int, seed: int) -> DataSet:
    """Read an image folder or a zip of one; its report says what was left out.

    Raises:
        DataInvalid: see ``read_folder``.
    """
    found = read_folder(path, side_px=side_px, channels=channels, seed=seed)
    return _data_set(path.stem if is_zip(path) else path.absolute().name, found)


def _data_set(name: str, found: FolderImages) -> DataSet:
    train, val, test = (Split(*found.splits[split]) for split in SPLITS)
    return DataSet(name, found.classes, train, val, test, *found.groups, str(found.report))


def load_sheets(path: Path) -> DataSet:
    """Read ``<path>_train.npz``, ``<path>_val.npz`` and ``<path>_test.npz``, contact sheets each.

    Raises:
        DataInvalid: see ``read_sheets``; or the splits do not agree.
    """
    found = {split: read_sheets(sheet_file(path, split)) for split in SPLITS}
    first = found["train"]
    classes = _classes(first["classes"], path)
    splits = {}
    for split, members in found.items():
        if tuple(str(name) for name in members["classes"].reshape(-1)) != classes:
            raise DataInvalid(path, f"{split}: other classes than those of train")
        images = _as_nchw(members["images"].astype(np.uint8), path)
        splits[split] = _check(
            Split(images, _labels(members["labels"], split, path)), len(classes), split, path
        )
    return DataSet(
        path.name,
        classes,
        splits["train"],
        splits["val"],
        splits["test"],
        *_groups(first, len(classes), path),
    )


def load_published(
    path: Path, *, datasets: Path | None, side_px: int | None, channels: int | None, seed: int
) -> DataSet:
    """Read a published data set by its name; its report says which splits were drawn.

    Raises:
        DataInvalid: see ``read_published``; or two classes have one name.
    """
    found = read_published(
        path, datasets=datasets, side_px=side_px, usual_px=USUAL_SIDE_PX, channels=channels, seed=seed
    )
    _classes(np.array(found.classes), path)
    return _data_set(name_of(path), found)


def load_data(
    path: Path,
    *,
    side_px: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    datasets: Path | None = None,
) -> DataSet:
    """Read a numpy archive (a file), contact sheets (a name), an image folder or zip, or a published data set.

    Args:
        path: the file or folder; for contact sheets what the names of its files begin with, ``cifar10`` for
            ``cifar10_train.npz`` and so on; ``torchvision:CIFAR10`` and so on for a published data set.
        side_px: of the images of a folder, zip or published data set. None for 32, or the side of a published one
            whose images are equal squares of 16 to 64 px.
        channels: of the same images: 1 for gray, 3 for RGB. None for RGB, or what a published one has.
        seed: of the draw of the splits that these do not give.
        datasets: folder of the published data sets at hand; None for ``./datasets``.

    Raises:
        DataInvalid: see ``load_archive``, ``load_sheets``, ``load_folder`` and ``load_published``; or nothing is at
            the path.
    """
    if path.is_dir() or is_zip(path):
        return load_folder(path, side_px=side_px or USUAL_SIDE_PX, channels=channels or 3, seed=seed)
    if path.exists():
        return load_archive(path)
    if is_published(path):
        return load_published(path, datasets=datasets, side_px=side_px, channels=channels, seed=seed)
    if sheet_file(path, "train").exists():
        return load_sheets(path)
    sheets = "" if path.suffix else f", nor does {sheet_file(path, 'train').name} beside it"
    raise DataInvalid(path, f"does not exist{sheets}")
