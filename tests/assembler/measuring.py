"""Requests for the measuring process, and where it is found, that tests share."""

import os
from pathlib import Path

from assembler.compile.onnx import build
from assembler.subnet import random_subnet
from supernet.card import Architecture
from tests.shapes import SMALL


def slow() -> Architecture:
    """A net that one thread needs some tenth of a second for."""
    side = 256
    blocks = tuple(
        SMALL.blocks[0].model_copy(update={"height": side, "width": side, "modules": 8}) for _ in range(4)
    )
    image = SMALL.input.model_copy(update={"height": 2 * side, "width": 2 * side})
    return SMALL.model_copy(update={"blocks": blocks, "input": image})


def request(folder: Path, architecture: Architecture, counts: tuple[int, ...]) -> dict[str, object]:
    path = folder / "model.onnx"
    path.write_bytes(build(random_subnet(architecture, counts, 5), architecture.input))
    side = architecture.input.height
    return {"do": "model", "path": str(path), "shape": [1, side, side], "threads": 1, "percentile": 50}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runners() -> list[int]:
    """Return the measuring processes of this one, ascending."""
    mine = children(os.getpid())
    return sorted(pid for pid in mine if b"assembler.runner" in Path(f"/proc/{pid}/cmdline").read_bytes())
