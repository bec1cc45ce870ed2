"""The store: files addressed by the sha256 of their content, never by a name that a client chose."""

import contextlib
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from service.settings import Settings

# What is this old is no longer being written, whoever shares the folder.
LEFT_AFTER_S = 3600.0
# Two changes of a file nearer than this may bear the same time.
TICK_S = 0.1
# Files of which it is known that they are whole; some 300 bytes each.
REMEMBERED = 4096
_NEW, _CHECK = ".new-", ".check-"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Store(Protocol):
    """Holds contents by their sha256, hexadecimal; ``FileStore`` tells what each method promises."""

    def put(self, content: bytes) -> str:
        """Store a content and return its sha256. Raises OSError."""

    def get(self, digest: str) -> bytes:
        """Return the content of a sha256. Raises OSError."""

    def open(self, digest: str) -> FileIO:
        """Return the content of a sha256 as an open file. Raises OSError."""

    def find(self, digest: str) -> FileIO | None:
        """Return what ``open`` does where that asks no other machine, else None. Raises OSError."""

    def holds(self, digest: str) -> bool:
        """Return whether a content is there and whole. Raises OSError."""

    def check(self) -> None:
        """Raise OSError when the store cannot be used now."""

    def clear(self) -> None:
        """Remove what killed processes left unfinished."""

    def remove(self, digest: str) -> None:
        """Remove a content, if it is there. Raises OSError."""

    def stored_before(self, before: float) -> Iterator[str]:
        """Yield the sha256 of what was stored before a time, s since 1970 UTC, some perhaps twice. Raises OSError."""


class FileStore:
    """Files under one folder; every write is whole or absent, also after a power cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: dict[str, _Look] = {}
        self._reading = threading.Lock()

    def put(self, content: bytes) -> str:
        """Store a content and return its sha256, hexadecimal.

        Raises:
            OSError: it could not be written.
            ContentDamaged: what was read back is not what was written.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if not self.holds(digest):
            _make(path.parent)
            _write(path, content)
        self.get(digest)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content of this sha256.

        Raises:
            OSError: it is not there or cannot be read.
            ContentDamaged: the file no longer holds what was stored.
        """
        content = self._path(digest).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ContentDamaged(digest)
        return content

    def open(self, digest: str) -> FileIO:
        """Return the file of this sha256, open for reading and found whole.

        It is read for that once, and again when it looks changed; a change that leaves no trace in the times of
        the file, such as a fault of the disk, is not noticed until then.

        Raises:
            OSError: it is not there or cannot be read.
            ContentDamaged: the file no longer holds what was stored.
        """
        file = FileIO(self._path(digest))
        try:
            if self._whole.get(digest) != _look(file):
                self._verify(digest, file)
        except BaseException:
            file.close()
            raise
        return file

    def find(self, digest: str) -> FileIO:
        """Return what ``open`` does: all files are here. Raises as that does."""
        return self.open(digest)

    def holds(self, digest: str) -> bool:
        """Return whether the content of this sha256 is there and whole."""
        try:
            self.get(digest)
        except OSError:
            return False
        return True

    def check(self) -> None:
        """Write and remove a small file.

        Raises:
            OSError: the store cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=_CHECK) as probe:
            probe.write(b"1")
            probe.flush()

    def clear(self) -> None:
        """Remove the unfinished files that killed processes left; those of the last hour stay."""
        before = time.time() - LEFT_AFTER_S
        for pattern in (f"{_CHECK}*", f"*/{_NEW}*"):
            for path in self.folder.glob(pattern):
                # Another process may remove it at the same time.
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    def remove(self, digest: str) -> None:
        """Remove the content of this sha256, if it is there; those who have it open read on.

        Raises:
            OSError: it cannot be removed.
        """
        self._path(digest).unlink(missing_ok=True)
        self._whole.pop(digest, None)

    def stored_before(self, before: float) -> Iterator[str]:
        """Yield the sha256 of every content that was stored before a time, s since 1970 UTC.

        Raises:
            OSError: the folder cannot be read.
        """
        for path in self.folder.glob("*/*"):
            # Another process may remove it at the same time.
            with contextlib.suppress(FileNotFoundError):
                if is_digest(path.name) and path.stat().st_mtime < before:
                    yield path.name

    def _verify(self, digest: str, file: FileIO) -> None:
        # One at a time: those who want the same file meanwhile need not read it again.
        with self._reading:
            look, began = _look(file), time.time_ns()
            if self._whole.get(digest) == look:
                return
            self._whole.pop(digest, None)
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ContentDamaged(digest)
            # A file that changed just now could change again and look the same.
            if began - look.changed_ns > TICK_S * 1e9:
                if len(self._whole) >= REMEMBERED:
                    del self._whole[next(iter(self._whole))]
                self._whole[digest] = look

    def _path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise ValueError("not a sha256")
        return self.folder / digest[:2] / digest


def open_store(settings: "Settings") -> Store:
    """Return where artifacts are kept; it is not touched yet.

    Raises:
        SettingInvalid: the address of an object store cannot be used.
    """
    if settings.store_url is not None and settings.store_url.startswith("s3://"):
        # Not at the head of the file: that one takes its errors from here.
        from service.objects import ObjectStore

        return ObjectStore(settings.store_url, settings.cache_path)
    return FileStore(settings.store_path)


def is_digest(text: str) -> bool:
    """Return whether a text has the form of a sha256, hexadecimal."""
    return _SHA256.fullmatch(text) is not None


class StoreAway(OSError):
    """A store on another machine cannot be used now."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the object store cannot be used: {reason}")


class ContentDamaged(OSError):
    """A stored file does not hold what its address says."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"the stored file {digest} is damaged")


@dataclass(frozen=True, slots=True)
class _Look:
    """What the file system says of a file; the time of the last change of any kind cannot be set by programs."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def _look(file: FileIO) -> _Look:
    found = os.fstat(file.fileno())
    return _Look(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _write(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_NEW)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _make(folder: Path) -> None:
    """Make a folder, and those above it, so that they are there after a power cut."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
