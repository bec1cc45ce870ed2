"""What lies in an image folder or a zip of one: files that may be opened, folders, and what may not. Loads no torch."""

import errno
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PureWindowsPath

from supernet.errors import DataInvalid
from supernet.photos.findings import Finding, Kind

# A wrapping folder, a split, a class, an image.
MOST_PARTS = 4
MOST_BYTES = 64 * 2**20
CHUNK_BYTES = 4096
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A plain file: the parts of its path in the folder, its size, and how to read it whole.

    ``read`` raises one of ``UNREADABLE`` where the file or the zip is damaged or the system refuses.
    """

    parts: Parts
    size_bytes: int
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """Path relative to the folder."""
        return "/".join(self.parts)


@dataclass(frozen=True, slots=True)
class Listing:
    """Files and folders, sorted by path; ``barred`` are the paths of what must not be opened, each with a finding."""

    files: list[File] = field(default_factory=list)
    folders: set[Parts] = field(default_factory=set)
    barred: list[Parts] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def bar(self, kind: Kind, parts: Parts, detail: str = "") -> None:
        """Add a path that must not be opened, and why."""
        self.barred.append(parts)
        self.tell(kind, parts, detail)

    def tell(self, kind: Kind, parts: Parts, detail: str = "") -> None:
        """Add a finding about a path."""
        self.findings.append(Finding(kind, "/".join(parts), detail))


@contextmanager
def listed(path: Path) -> Iterator[Listing]:
    """Yield what lies in a folder or zip; files can be read until the block ends.

    Raises:
        DataInvalid: it is neither a folder nor a zip that can be read.
    """
    if path.is_dir():
        yield _list_folder(path)
        return
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise DataInvalid(path, f"cannot be read as a zip ({error})") from error
    with archive:
        yield _list_zip(archive)


def is_hidden(parts: Parts) -> bool:
    """Whether a path is one that systems and tools add for themselves."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _list_folder(root: Path) -> Listing:
    listing, base = Listing(), root.resolve()
    _walk(listing, base, base, (), linked=False)
    listing.files.sort(key=lambda file: file.parts)
    return listing


def _walk(listing: Listing, base: Path, folder: Path, parts: Parts, *, linked: bool) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        listing.tell(Kind.UNREADABLE, parts, error.strerror or "")
        return
    for entry in entries:
        here = (*parts, entry.name)
        target = Path(entry.path)
        if entry.is_symlink():
            found = _target(target, base)
            if isinstance(found, str):
                listing.bar(Kind.LINK, here, found)
                continue
            target = found
        try:
            facts = target.stat()
        except OSError as error:
            listing.tell(Kind.UNREADABLE, here, error.strerror or "")
            continue
        if stat.S_ISREG(facts.st_mode):
            listing.files.append(File(here, facts.st_size, target.read_bytes))
        elif not stat.S_ISDIR(facts.st_mode):
            listing.bar(Kind.SPECIAL, here)
        elif entry.is_symlink() and (linked or folder.is_relative_to(target)):
            listing.bar(Kind.LINK, here, "a link behind a link" if linked else "leads in a circle")
        elif is_hidden(here) or len(here) >= MOST_PARTS:
            listing.tell(Kind.PASSED_OVER, here, "a folder")
        else:
            listing.folders.add(here)
            _walk(listing, base, target, here, linked=linked or entry.is_symlink())


def _target(link: Path, base: Path) -> Path | str:
    """Return the file or folder that a link leads to, or why it must not be followed."""
    try:
        target = link.resolve(strict=True)
    except RuntimeError:
        return "leads in a circle"
    except OSError as error:
        return "leads in a circle" if error.errno == errno.ELOOP else "leads nowhere"
    return target if target.is_relative_to(base) else "leads out of the folder"


def _list_zip(archive: zipfile.ZipFile) -> Listing:
    listing = Listing()
    for info in archive.infolist():
        # Not ``filename``: that one ends at the first NUL.
        name = info.orig_filename
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if (
            name.startswith(("/", "\\"))
            or ".." in name.replace("\\", "/").split("/")
            or PureWindowsPath(name).drive
        ):
            listing.findings.append(Finding(Kind.OUTSIDE, name))
            continue
        folder = parts if name.endswith("/") else parts[:-1]
        listing.folders.update(
            folder[:depth] for depth in range(1, len(folder) + 1) if not is_hidden(folder[:depth])
        )
        if not parts or name.endswith("/"):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind == stat.S_IFLNK:
            listing.bar(Kind.LINK, parts, "links in a zip are not followed")
        elif kind not in (0, stat.S_IFREG):
            listing.bar(Kind.SPECIAL, parts)
        elif info.flag_bits & 1:
            listing.bar(Kind.ENCRYPTED, parts)
        else:
            listing.files.append(File(parts, info.file_size, partial(_member, archive, info)))
    listing.files.sort(key=lambda file: file.parts)
    return listing


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as content:
        # In small pieces: one that inflates to more than its entry says is cut off there before it fills the memory.
        return b"".join(iter(partial(content.read, CHUNK_BYTES), b""))
