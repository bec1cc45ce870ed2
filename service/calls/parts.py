"""A file that is being downloaded: what is there of it lies beside its place, and is moved there once it is whole."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from service.calls.errors import DownloadBusy

try:
    import fcntl
except ImportError:  # Elsewhere than on POSIX, two processes may spoil each other's part; the digest tells.
    fcntl = None  # type: ignore[assignment]

BLOCK_BYTES = 1 << 20


class Part:
    """What is there of a file, with the digest of its content so far.

    Its name holds the digest of the whole file, so that parts of different files are never put together.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.place = path.with_name(f"{path.name}.{sha256[:16]}.part")
        self.size = 0
        # Whether it was put together out of several answers.
        self.joined = False
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    def open(self, limit_bytes: int) -> None:
        """Take up what an earlier try left, unless that is larger than the file can be.

        Raises:
            DownloadBusy: somebody else has it open.
            OSError: it cannot be read or written.
        """
        self._file = _locked(self.place)
        self._file.seek(0)
        while block := self._file.read(BLOCK_BYTES):
            self._hash.update(block)
            self.size += len(block)
        self.joined = self.size > 0
        if self.size > limit_bytes:
            self.clear()

    def append(self, chunk: bytes) -> None:
        """Add what came."""
        assert self._file is not None
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def clear(self) -> None:
        """Begin anew."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0
        self.joined = False

    def sha256(self) -> str:
        """Return the digest of what is there, hexadecimal."""
        return self._hash.hexdigest()

    def written(self) -> Path:
        """Return where all that came can be read."""
        assert self._file is not None
        self._file.flush()
        return self.place

    def finish(self) -> None:
        """Move the whole file to its place, durably."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self.place.replace(self.path)

    def discard(self) -> None:
        """Remove what is there."""
        self.place.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep what is there for a later try."""
        if self._file is not None:
            self._file.close()


def holds(path: Path, sha256: str, size: int) -> bool:
    """Return whether a file has this content."""
    try:
        if path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _locked(place: Path) -> BinaryIO:
    while True:
        file = place.open("a+b")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have moved it to its place since it was opened here.
            if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise DownloadBusy(str(place)) from None
        except FileNotFoundError:
            pass
        file.close()
