"""Processes of this machine."""

import contextlib
import os
import resource
import socket
from pathlib import Path


def process_space() -> str:
    """Return what tells whose process numbers these are: containers may share a name and not their processes."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return f"{socket.gethostname()}/{space}"


def allow_files() -> None:
    """Let this process have as many files and connections open as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_alive(pid: int) -> bool:
    """Return whether another process of this number runs; one that ended and was not yet reaped does not."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:
        return True
