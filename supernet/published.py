"""Published data sets: labelled images that torchvision knows by name, found in a folder or fetched into it.

A set keeps its splits; what it lacks of them is drawn as for a user's own photographs.
"""

import difflib
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from supernet.errors import DataInvalid
from supernet.photos.division import Sample
from supernet.photos.folder import FolderImages, arranged
from supernet.photos.listing import UNREADABLE
from supernet.photos.pictures import Picture, picture_of

PREFIX = "torchvision:"
DATASETS = Path("datasets")
MOST_IMAGES, MOST_BYTES = 400_000, 4_000_000_000
OWN_SIDES_PX = range(16, 65)
GRAY_MODES = ("1", "L", "LA", "I;16")
# What a file that is missing, broken or out of reach makes torchvision raise.
FAILURES = (*UNREADABLE, AssertionError, HTTPException, tarfile.TarError)


@dataclass(frozen=True, slots=True)
class Source:
    """How torchvision is asked for a data set: split -> arguments, under "" for all images where it has no splits.

    ``package`` is one that torchvision needs to read it. ``in_files`` says that it lies in files.
    """

    splits: dict[str, dict[str, Any]]
    package: str = ""
    in_files: bool = True


def _by_train(**more: Any) -> Source:
    return Source({"train": {"train": True, **more}, "test": {"train": False, **more}})


def _by_split(package: str = "", **names: str) -> Source:
    return Source({split: {"split": name} for split, name in names.items()}, package)


SOURCES = {
    "CIFAR10": _by_train(),
    "CIFAR100": _by_train(),
    "CLEVRClassification": _by_split(train="train", val="val"),
    "Caltech101": Source({"": {}}, package="scipy"),
    "Caltech256": Source({"": {}}),
    "Country211": _by_split(train="train", val="valid", test="test"),
    "DTD": _by_split(train="train", val="val", test="test"),
    "EMNIST": _by_train(split="balanced"),
    "EuroSAT": Source({"": {}}),
    "FGVCAircraft": _by_split(train="train", val="val", test="test"),
    "FakeData": Source({"": {"size": 1000, "image_size": (3, 32, 32), "num_classes": 10}}, in_files=False),
    "FashionMNIST": _by_train(),
    "Flowers102": _by_split("scipy", train="train", val="val", test="test"),
    "Food101": _by_split(train="train", test="test"),
    "GTSRB": _by_split(train="train", test="test"),
    "Imagenette": Source({split: {"split": split, "size": "320px"} for split in ("train", "val")}),
    "KMNIST": _by_train(),
    "MNIST": _by_train(),
    "OxfordIIITPet": _by_split(train="trainval", test="test"),
    "PCAM": _by_split("h5py", train="train", val="val", test="test"),
    "QMNIST": _by_train(),
    "RenderedSST2": _by_split(train="train", val="val", test="test"),
    "SEMEION": Source({"": {}}),
    "STL10": _by_split(train="train", test="test"),
    "SVHN": _by_split("scipy", train="train", test="test"),
    "StanfordCars": _by_split("scipy", train="train", test="test"),
    "USPS": _by_train(),
}


def is_published(path: Path) -> bool:
    """Whether a path is the name of a published data set: it has the prefix, and nothing lies there."""
    return str(path).startswith(PREFIX) and not path.exists()


def name_of(path: Path) -> str:
    """Return the name that torchvision has for a published data set."""
    return str(path).removeprefix(PREFIX)


def read_published(
    path: Path, *, datasets: Path | None, side_px: int | None, usual_px: int, channels: int | None, seed: int
) -> FolderImages:
    """Read a published data set, which is fetched where it is not at hand.

    Args:
        path: ``torchvision:`` and a name of ``SOURCES``.
        datasets: folder that torchvision finds it in; None for ``./datasets``.
        side_px: side of the square every image is resized to; None for the set's own where all images are equal
            squares of 16 to 64 px.
        usual_px: side where neither says.
        channels: 1 for gray, 3 for RGB; None for the set's own.
        seed: of the draw of splits.

    Raises:
        DataInvalid: there is no such set; it cannot be fetched or read, has too few images of a class, or takes too
            much memory.
    """
    opened = _opened(path, datasets or DATASETS)
    count = sum(len(found) for found in opened.values())
    if count > MOST_IMAGES:
        raise DataInvalid(path, f"has {count:,} images; {MOST_IMAGES:,} are read at most")
    with warnings.catch_warnings():
        # Doubts of the decoder are not the user's business, as with photographs.
        warnings.simplefilter("ignore")
        if side_px is None or channels is None:
            own_side_px, own_channels = _own_input(path, opened)
            side_px, channels = side_px or own_side_px or usual_px, channels or own_channels
        if (size_bytes := count * channels * side_px**2) > MOST_BYTES:
            raise DataInvalid(
                path,
                f"{count:,} images of {channels} x {side_px} x {side_px} take {size_bytes / 1e9:.1f} GB; "
                f"{MOST_BYTES / 1e9:.0f} GB are held at most, so choose a smaller side",
            )
        classes, samples, pictures = _pictures(path, opened, side_px, channels)
    given = tuple(split for split in opened if split)
    return arranged(path, samples, pictures, classes=classes, splits=given, seed=seed)


def _opened(path: Path, folder: Path) -> dict[str, Any]:
    """Return split -> data set of torchvision."""
    name = name_of(path)
    if name not in SOURCES:
        raise DataInvalid(
            path, f"is no data set that is known here{_meant(name)}; known: {', '.join(SOURCES)}"
        )
    package = SOURCES[name].package
    if package and find_spec(package) is None:
        raise DataInvalid(path, f"torchvision needs {package} to read it: pip install {package}")
    try:
        return _at_hand(name, folder)
    except FAILURES:
        print(f"{path} is not in {folder}: fetching it", flush=True)
    try:
        _fetch(name, folder)
        return _at_hand(name, folder)
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataInvalid(
            path,
            f"could not be fetched ({reason}); put its files into {folder}, unpacked as torchvision has them, or set "
            "NNF_DATASETS to the folder that holds them",
        ) from error


def _meant(name: str) -> str:
    by_fold = {known.casefold(): known for known in SOURCES}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    return f"; did you mean {PREFIX}{by_fold[close[0]]}?" if close else ""


def _at_hand(name: str, folder: Path, *, download: bool = False) -> dict[str, Any]:
    from torchvision import datasets

    source = SOURCES[name]
    place = {"root": str(folder), "download": download} if source.in_files else {}
    return {split: getattr(datasets, name)(**place, **asked) for split, asked in source.splits.items()}


def _fetch(name: str, folder: Path) -> None:
    """Fetch a set into a folder of its own first: torchvision would take half a set for a whole one the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{name}-", dir=folder) as partial:
        _at_hand(name, Path(partial), download=True)
        for entry in sorted(Path(partial).iterdir()):
            _move(entry, folder / entry.name)


def _move(source: Path, target: Path) -> None:
    """Move a file or folder; into the folder of its name where there is one."""
    if not (source.is_dir() and target.is_dir()):
        source.replace(target)
        return
    for entry in sorted(source.iterdir()):
        _move(entry, target / entry.name)


def _each(path: Path, opened: dict[str, Any]) -> Iterator[tuple[str, Image.Image, int]]:
    """Yield the split, picture and label of every image."""
    for split, found in opened.items():
        for place in range(len(found)):
            try:
                image, label = found[place]
                image.load()
            except FAILURES as error:
                raise DataInvalid(
                    path, f"image {place} of {split or 'all'} cannot be read ({error})"
                ) from error
            yield split, image, int(label)


def _own_input(path: Path, opened: dict[str, Any]) -> tuple[int | None, int]:
    """Return the side that all images have, None where they are no equal squares or large ones, and their channels."""
    seen = ((image.size, image.mode in GRAY_MODES) for _, image, _ in _each(path, opened))
    first, gray = next(seen, ((0, 0), False))
    equal = first[0] == first[1] and first[0] in OWN_SIDES_PX
    for size, this_gray in seen:
        equal, gray = equal and size == first, gray and this_gray
        if not (equal or gray):
            break
    return first[0] if equal else None, 1 if gray else 3


def _pictures(
    path: Path, opened: dict[str, Any], side_px: int, channels: int
) -> tuple[tuple[str, ...], list[Sample], dict[int, Picture]]:
    """Return the classes, the images, and number -> picture."""
    names = _names(path, opened)
    samples: list[Sample] = []
    pictures: dict[int, Picture] = {}
    labels: set[int] = set()
    for number, (split, image, label) in enumerate(_each(path, opened)):
        if names and not 0 <= label < len(names):
            raise DataInvalid(path, f"has label {label}, but {len(names)} classes")
        picture = picture_of(image, side_px=side_px, channels=channels)
        class_name = names[label] if names else str(label)
        samples.append(Sample(number, split, class_name, f"{split}/{number}", picture.digest))
        pictures[number] = picture
        labels.add(label)
    return names or tuple(str(label) for label in sorted(labels)), samples, pictures


def _names(path: Path, opened: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes, none where they are only numbered."""
    named = set()
    for found in opened.values():
        known = getattr(found, "classes", getattr(found, "categories", ()))
        # Where a class has several names, the first is the usual one.
        named.add(tuple(name if isinstance(name, str) else name[0] for name in known))
    if len(named) > 1:
        raise DataInvalid(path, "its splits have different classes, so some of its files are missing")
    return named.pop()
