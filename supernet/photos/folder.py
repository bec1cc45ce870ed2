"""A user's own photographs: an image folder or a zip of one, checked as a whole. Loads no torch.

Legend: N images, C channels, S side of an image in px, K classes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supernet.errors import DataInvalid, PictureUnusable
from supernet.photos.division import Sample, divide, shortcomings, without_repeats
from supernet.photos.findings import SPLIT_ORDER, Finding, FolderReport, Kind, in_order
from supernet.photos.groups import Groups, read_groups
from supernet.photos.layout import Layout, lay_out
from supernet.photos.listing import MOST_BYTES, UNREADABLE, File, listed
from supernet.photos.pictures import Picture, read_picture


@dataclass(frozen=True, slots=True)
class FolderImages:
    """What a data set holds: split -> (images N x C x S x S uint8, labels N int64 in 0..K-1), and the report on it.

    ``groups`` has one number a class and the groups' names, or is empty.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]
    groups: Groups
    report: FolderReport


def is_zip(path: Path) -> bool:
    """Whether a path is taken for a zip of images: a file whose name says so."""
    return path.suffix.lower() == ".zip" and path.is_file()


def read_folder(path: Path, *, side_px: int, channels: int, seed: int = 0) -> FolderImages:
    """Read ``<split>/<class>/<image>`` or ``<class>/<image>``; one image at a time is held at its full size.

    Splits are train, val (or valid, validation) and test; in a zip or folder, one wrapping folder may be around
    them. What is not given of them is drawn: see ``divide``. ``classes.csv`` at the top gives groups: see
    ``read_groups``. Images are ordered by split, class and file name; the same input and seed give the same arrays.

    Args:
        path: a folder or a zip.
        side_px: side of the square every image is resized to; aspect ratios are not kept.
        channels: 1 for gray, 3 for RGB.
        seed: of the draw of splits.

    Raises:
        DataInvalid: it is no zip; or its layout, class names, ``classes.csv`` or number of usable images make it
            unusable. The reason is then the whole report.
    """
    with listed(path) as listing:
        layout = lay_out(listing)
        findings = [*listing.findings, *layout.findings]
        classes = layout.classes
        groups: Groups = ((), ())
        if layout.table is not None:
            groups, faults = read_groups(layout.table, classes)
            findings += faults
        samples, pictures, told = _pictures(layout, side_px, channels)
    samples, left_out = without_repeats(samples)
    findings += [*told, *left_out]
    return arranged(
        path,
        samples,
        pictures,
        classes=classes,
        splits=layout.splits,
        groups=groups,
        findings=findings,
        seed=seed,
    )


def arranged(
    path: Path,
    samples: Sequence[Sample],
    pictures: Mapping[int, Picture],
    *,
    classes: tuple[str, ...],
    splits: tuple[str, ...],
    groups: Groups = ((), ()),
    findings: Sequence[Finding] = (),
    seed: int,
) -> FolderImages:
    """Return images by their splits, given or drawn (see ``divide``), and the report on them.

    Args:
        path: of all of them.
        samples: in their order.
        pictures: number of a sample -> its picture.
        classes: by label.
        splits: that are given; none where none is.
        groups: of the classes.
        findings: so far.
        seed: of the draw of splits.

    Raises:
        DataInvalid: a finding refuses them, or there are too few. The reason is the whole report.
    """
    found = [*findings, *shortcomings(samples, classes, splits)]
    filled = {sample.split for sample in samples}
    splits = tuple(split for split in splits if split in filled)
    if not any(finding.kind.refuses for finding in found):
        samples, decided = divide(samples, splits, seed)
        found += decided
    report = FolderReport(
        counts=_counts(samples, classes),
        sides_px=tuple(side for sample in samples for side in pictures[sample.number].sides_px),
        findings=in_order(found),
    )
    if report.refused:
        raise DataInvalid(path, f"cannot be used as it is\n{report}")
    stacked = {split: _stacked(samples, split, classes, pictures) for split in SPLIT_ORDER}
    return FolderImages(classes, stacked, groups, report)


def _pictures(
    layout: Layout, side_px: int, channels: int
) -> tuple[list[Sample], dict[int, Picture], list[Finding]]:
    """Return the usable images, number -> picture, and what was found in reading all of them."""
    samples: list[Sample] = []
    pictures: dict[int, Picture] = {}
    findings: list[Finding] = []
    for number, place in enumerate(layout.places):
        try:
            picture = read_picture(_content(place.file), side_px=side_px, channels=channels)
        except PictureUnusable as error:
            findings.append(Finding(error.kind, place.file.name, error.detail))
            continue
        if picture.several_frames:
            findings.append(Finding(Kind.FRAMES, place.file.name))
        pictures[number] = picture
        samples.append(Sample(number, place.split, place.class_name, place.file.name, picture.digest))
    return samples, pictures, findings


def _content(file: File) -> bytes:
    if file.size_bytes > MOST_BYTES:
        raise PictureUnusable(Kind.HEAVY, f"{file.size_bytes / 2**20:.0f} MB")
    try:
        return file.read()
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PictureUnusable(Kind.UNREADABLE, reason or type(error).__name__) from error


def _counts(samples: Sequence[Sample], classes: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Return split -> class -> images."""
    counted = Counter((sample.split, sample.class_name) for sample in samples)
    present = dict.fromkeys(sample.split for sample in samples)
    return {split: {name: counted[split, name] for name in classes} for split in present}


def _stacked(
    samples: Sequence[Sample], split: str, classes: tuple[str, ...], pictures: Mapping[int, Picture]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    label_of = {name: label for label, name in enumerate(classes)}
    mine = [sample for sample in samples if sample.split == split]
    # Images that were moved here stand among those of their class.
    mine.sort(key=lambda sample: (sample.class_name, sample.number))
    images = np.stack([pictures[sample.number].pixels for sample in mine])
    return images, np.array([label_of[sample.class_name] for sample in mine], np.int64)
