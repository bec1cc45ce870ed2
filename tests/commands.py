"""Commands as a user starts them, that tests share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.small import CLASSES, small_images

LONG_S = 300
COMMAND = [sys.executable, "-m", "service.cli"]


def known(**environment: str) -> dict[str, str]:
    """Return the environment that commands run in."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "100", **environment}


def nnfactory(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=known(**environment),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


def write_scenario(path: Path, **changes: object) -> str:
    task = {"kind": "classification", "classes": ["Sneaker", "Bag", "Coat"]}
    path.write_text(json.dumps({"task": task, "limits": {"size_mb": 0.3}, **changes}))
    return str(path)


def write_stripes(folder: Path) -> None:
    """Write a small data set of stripes into a folder."""
    members: dict[str, object] = {"classes": np.array(CLASSES)}
    for number, (split, per_class) in enumerate((("train", 40), ("val", 20), ("test", 10))):
        images = small_images(per_class, number)
        members |= {f"x_{split}": images.images[:, 0], f"y_{split}": images.labels}
    np.savez(folder / "stripes.npz", **members)  # type: ignore[arg-type]


def train_stripes(folder: Path, *more: str) -> None:
    """Train a small supernet on stripes that are kept in the folder."""
    write_stripes(folder)
    arguments = ["--data", "stripes.npz", "--out", "zoo/stripes", "--epochs", "12", "--batch", "24"]
    done = nnfactory("train", *arguments, "--pairs", "20", "--processes", "1", *more, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def look_at_stripes(folder: Path, *more: str, **environment: str) -> str:
    """Return the page that the command writes."""
    (folder / "zoo" / "stripes" / "look.html").unlink()
    done = nnfactory("look", "zoo/stripes", *more, cwd=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "zoo/stripes/look.html"
    return (folder / "zoo" / "stripes" / "look.html").read_text()
