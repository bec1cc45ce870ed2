"""What reading a user's own photographs found, as one report that a person can act on. Loads no torch."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from statistics import median_low

MOST_EXAMPLES = 10
MOST_CHARACTERS = 120
SPLIT_ORDER = ("train", "val", "test")


class Kind(Enum):
    """What can be found; the value is the heading in the report, the first ones refuse the data set."""

    LAYOUT = "the folders are not laid out as <split>/<class>/<image> or <class>/<image>"
    TABLE = "classes.csv is faulty"
    BAD_NAME = "class names must have 1 to 100 characters, no control characters, no slash or backslash"
    FEW_CLASSES = "at least 2 classes are needed"
    FEW_IMAGES = (
        "classes with too few usable images (4 in all are needed; where splits are given, 2 in train)"
    )
    NOT_IN_TRAIN = "classes with images in val or test, but none in train"

    BROKEN = "broken images, skipped"
    LARGE = "images of more than 50 million pixels, skipped"
    HEAVY = "files over 64 MB, skipped"
    SMALL = "images with a side under 8 px, skipped"
    LINK = "links that are not followed, skipped"
    SPECIAL = "neither files nor folders, skipped"
    OUTSIDE = "zip entries whose path leads out of the zip, skipped"
    ENCRYPTED = "encrypted zip entries, skipped"
    UNREADABLE = "cannot be read, skipped"

    REPEATED = "repeated images (the same pixels), the later left out"
    LEAKED = "images that are in another split too (the same pixels), left out here"
    CLASHING = "images that are under several classes (the same pixels), left out of all"
    EMPTY = "classes without images, left out"

    FRAMES = "images with several frames, the first is used"
    MOVED = "classes without images in val, which got some of train"
    DIVIDED = "splits that are not given, or without usable images"
    UNTESTED = "classes without images in test"
    PASSED_OVER = "other files and folders, passed over"

    @property
    def refuses(self) -> bool:
        """Whether a data set with such a finding cannot be used."""
        return self in _REFUSING

    @property
    def shown_whole(self) -> bool:
        """Whether all findings are printed: what the user has to mend class by class."""
        return self in (Kind.FEW_IMAGES, Kind.NOT_IN_TRAIN)


_REFUSING = frozenset(
    {Kind.LAYOUT, Kind.TABLE, Kind.BAD_NAME, Kind.FEW_CLASSES, Kind.FEW_IMAGES, Kind.NOT_IN_TRAIN}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: a file (relative to the folder) or a class, and what is to say of it."""

    kind: Kind
    name: str
    detail: str = ""

    def __str__(self) -> str:
        """One line, whatever characters the name has."""
        detail = f" ({shown(' '.join(self.detail.split()))})" if self.detail else ""
        return shown(self.name) + detail


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What a folder or zip of images holds and what was left out.

    ``counts`` is split -> class -> images, under "" where images have no split yet; ``sides_px`` are the sides of
    all usable images as they were stored.
    """

    counts: dict[str, dict[str, int]]
    sides_px: tuple[int, ...]
    findings: tuple[Finding, ...]

    @property
    def refused(self) -> bool:
        """Whether the data set cannot be used."""
        return any(finding.kind.refuses for finding in self.findings)

    def of(self, kind: Kind) -> list[Finding]:
        """Return the findings of a kind."""
        return [finding for finding in self.findings if finding.kind is kind]

    def lines(self) -> list[str]:
        """Return the report as lines: what refuses the data set, figures, what was left out or done."""
        refusals = [line for kind in Kind if kind.refuses for line in _section(kind, self.of(kind))]
        others = [line for kind in Kind if not kind.refuses for line in _section(kind, self.of(kind))]
        return refusals + self._figures() + others

    def __str__(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines())

    def _figures(self) -> list[str]:
        of_class: dict[str, int] = {}
        for images in self.counts.values():
            for name, count in images.items():
                of_class[name] = of_class.get(name, 0) + count
        if not of_class:
            return []
        splits = [
            f"{split} {sum(self.counts[split].values())}" for split in SPLIT_ORDER if split in self.counts
        ]
        per_split = f": {', '.join(splits)}" if splits else ""
        lines = [f"{len(of_class)} classes, {sum(of_class.values())} usable images{per_split}"]
        least, most = (
            min(of_class, key=lambda k: (of_class[k], k)),
            max(of_class, key=lambda k: (of_class[k], k)),
        )
        if of_class[least]:
            lines.append(
                f"images a class: {of_class[least]} ({shown(least)}) to {of_class[most]} ({shown(most)}), "
                f"{of_class[most] / of_class[least]:.1f} times as many"
            )
        if sides := self.sides_px:
            lines.append(
                f"sides of images: {min(sides)} px smallest, {median_low(sides)} median, {max(sides)} largest"
            )
        return lines


def _section(kind: Kind, findings: list[Finding]) -> list[str]:
    if not findings:
        return []
    most = len(findings) if kind.shown_whole else MOST_EXAMPLES
    heading = f"{kind.value}:" if kind.refuses else f"{kind.value}: {len(findings)}"
    lines = [heading, *(f"  {finding}" for finding in findings[:most])]
    return lines + ([f"  and {len(findings) - most} more"] if len(findings) > most else [])


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings sorted by kind, in the order of ``Kind``, and by name."""
    place = {kind: number for number, kind in enumerate(Kind)}
    return tuple(sorted(findings, key=lambda found: (place[found.kind], found.name, found.detail)))


def shown(name: str) -> str:
    """Return a name fit for a terminal: escaped where it is not printable, shortened where it is long."""
    text = name if name.isprintable() and name else ascii(name)
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]}...{text[-half:]}"


def is_class_name(name: str) -> bool:
    """Whether a class may be called so: see ``Kind.BAD_NAME``; lone surrogates and line separators are refused too."""
    plain = all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    return plain and 1 <= len(name) <= 100 and not {"/", "\\"} & set(name)
