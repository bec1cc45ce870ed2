"""The data folder: one whole service at a time has it."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from service.errors import DataUnusable

LOCK_FILE = "serve.lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other services out of a data folder while the block runs; the system lets them in when this one is killed.

    Raises:
        DataUnusable: another service has the folder, or it cannot be written.
    """
    with _lock(folder):
        yield


def _lock(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise DataUnusable(folder, f"it cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        reason = "another `nnfactory serve` has it; end that one, or name another folder with --data-dir"
        raise DataUnusable(folder, reason) from None
    except OSError:
        # Some network file systems have no locks: then it is as without this file.
        pass
    return lock
