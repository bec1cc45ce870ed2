"""Which split and class every file of an image folder belongs to, by its path alone. Loads no torch."""

import unicodedata
from dataclasses import dataclass

from supernet.photos.findings import Finding, Kind, is_class_name
from supernet.photos.listing import File, Listing, Parts, is_hidden

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
ORDER = ("train", "val", "test", "")
SPLIT_OF_FOLDER = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
TABLE_FILE = "classes.csv"


@dataclass(frozen=True, slots=True)
class Place:
    """An image file, its class, and its split: "" where the folder gives none."""

    split: str
    class_name: str
    file: File


@dataclass(frozen=True, slots=True)
class Layout:
    """Image files in the order of split, class and file name; ``splits`` are those that the folder gives.

    ``classes`` are sorted; of some, no image may be opened.
    """

    splits: tuple[str, ...]
    classes: tuple[str, ...]
    places: tuple[Place, ...]
    table: File | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the folders lie: the path of a wrapping one, () where there is none, and split folder -> split."""

    top: Parts
    splits: dict[str, str]

    def inner(self, parts: Parts) -> Parts:
        """Return the parts of a path below the wrapping folder, () where it lies elsewhere."""
        return parts[len(self.top) :] if parts[: len(self.top)] == self.top else ()

    def class_named(self, folder: Parts) -> str | None:
        """Return the class whose folder this is, None where it is none."""
        inner = self.inner(folder)
        if len(inner) != (2 if self.splits else 1) or (self.splits and inner[0] not in self.splits):
            return None
        # File systems write accents in different ways, and one class may come from several.
        return unicodedata.normalize("NFC", inner[-1])

    def class_of(self, file: Parts) -> str | None:
        """Return the class of an image file by its path, None where it is no image of a class."""
        is_image = file[-1].lower().endswith(SUFFIXES) and not is_hidden(file)
        return self.class_named(file[:-1]) if is_image else None


def lay_out(listing: Listing) -> Layout:
    """Return where every image belongs; what has no place, and class folders without images, are findings."""
    shape = _shape(listing)
    findings = _split_findings(shape.splits)
    places, table = [], None
    for file in listing.files:
        if file.parts == (*shape.top, TABLE_FILE):
            table = file
        elif (name := shape.class_of(file.parts)) is not None:
            places.append(Place(shape.splits.get(shape.inner(file.parts)[0], ""), name, file))
        else:
            findings.append(Finding(Kind.PASSED_OVER, file.name))
    places.sort(key=lambda place: (ORDER.index(place.split), place.class_name, place.file.parts))
    full = {place.class_name for place in places} | {shape.class_of(parts) for parts in listing.barred}
    classes = sorted(name for name in full if name is not None)
    empty = {shape.class_named(folder) for folder in listing.folders} - full
    findings += [Finding(Kind.EMPTY, name) for name in empty if name is not None]
    findings += [Finding(Kind.BAD_NAME, name) for name in classes if not is_class_name(name)]
    if not classes:
        findings.append(Finding(Kind.LAYOUT, "/".join(shape.top) or ".", "no image lies at such a place"))
    given = tuple(split for split in ORDER if split in shape.splits.values())
    return Layout(given, tuple(classes), tuple(places), table, tuple(findings))


def _shape(listing: Listing) -> _Shape:
    shape = _Shape(_wrapping(listing), {})
    inner = [shape.inner(folder) for folder in listing.folders]
    with_folders = {parts[0] for parts in inner if len(parts) == 2}
    return _Shape(
        shape.top, {name: SPLIT_OF_FOLDER[name] for name in sorted(with_folders & SPLIT_OF_FOLDER.keys())}
    )


def _wrapping(listing: Listing) -> Parts:
    """Return the path of the only folder at the top where that is neither a split nor a class, else ()."""
    tops = {parts[0] for parts in listing.folders}
    if len(tops) != 1 or tops & SPLIT_OF_FOLDER.keys():
        return ()
    return tuple(tops) if any(len(parts) == 2 for parts in listing.folders) else ()


def _split_findings(splits: dict[str, str]) -> list[Finding]:
    findings = []
    if splits and "train" not in splits:
        findings.append(Finding(Kind.LAYOUT, ", ".join(splits), "splits without a folder 'train'"))
    val = [folder for folder, split in splits.items() if split == "val"]
    if len(val) > 1:
        findings.append(Finding(Kind.LAYOUT, ", ".join(val), "several folders for one split"))
    return findings
