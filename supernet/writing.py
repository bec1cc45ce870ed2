"""Write files so that a reader finds the old one or the new one, whole, and a full disk leaves nothing behind."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from supernet.errors import Unwritten


@contextmanager
def writing(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Turn what keeps files from being written into Unwritten, and remove what was written of them.

    Args:
        path: what is to be written, for the error.
        partial: file or folder to remove.
    """
    try:
        yield
    except OSError as error:
        if partial is not None and partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        elif partial is not None:
            with suppress(OSError):
                partial.unlink()
        raise Unwritten(path, error.strerror or str(error)) from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file, and its folder where there is none.

    Raises:
        Unwritten: the disk is full, or the folder cannot be written; a file that was there stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    with writing(path, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
