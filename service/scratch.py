"""Scratch: the folder of a process' temporary files, so that what a killed one leaves is found and removed."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from service.processes import is_alive


def use_scratch(data_dir: Path) -> Path:
    """Put all temporary files of this process under ``data_dir/scratch`` and clear away those of dead ones.

    The folder goes when the process ends.
    """
    scratch = data_dir / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.iterdir():
        if not (left.name.isdecimal() and is_alive(int(left.name))):
            shutil.rmtree(left, ignore_errors=True)
    mine = scratch / str(os.getpid())
    mine.mkdir(exist_ok=True)
    tempfile.tempdir = str(mine)
    atexit.register(shutil.rmtree, mine, ignore_errors=True)
    return mine
