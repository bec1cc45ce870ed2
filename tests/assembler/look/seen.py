"""Pages of a small checkpoint, and how to read them, that tests of this folder share."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import torch

from assembler.look.facts import Look
from assembler.look.page import page_of
from supernet.checkpoint import Checkpoint
from supernet.data import Split
from supernet.gates import full_gates
from supernet.model import calibrate
from tests.shapes import SMALL
from tests.small import small_images

TEST = small_images(40, seed=5)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "</title></style><b onload='x'>",
    "]]>&amp;<!--",
    "nul\x00 \ud800 \uffff",
    "http://example.com/?a=1&b=2",
)
READABLE = (*HOSTILE[:4], "nul\ufffd \ufffd \ufffd", HOSTILE[5])


def answers(checkpoint: Checkpoint, data: Split) -> list[int]:
    """Return what the dense net takes images for, without any of the code under test."""
    gates = full_gates(SMALL)
    fed = torch.from_numpy(checkpoint.calibration.images).float()
    statistics = calibrate(checkpoint.supernet, gates, fed)
    with torch.no_grad():
        logits = checkpoint.supernet(torch.from_numpy(data.images).float(), gates, statistics)
    found: list[int] = logits.argmax(dim=1).tolist()
    return found


def parsed(look: Look) -> Element:
    return ElementTree.fromstring(page_of(look))


def text(element: Element) -> str:
    return "".join(element.itertext())


def rows(element: Element, path: str) -> list[list[str]]:
    return [[text(cell) for cell in row] for row in element.findall(f"{path}/tbody/tr")]


def of_many(look: Look, classes: int) -> Look:
    """Return a Look with more classes, confused at random, and one without images."""
    draw = np.random.default_rng(classes)
    confusion = draw.integers(0, 4, (classes, classes)) * draw.integers(0, 2, (classes, classes))
    confusion[1] = 0
    names = (*HOSTILE, *(f"a class of number {number}" for number in range(classes)))[:classes]
    card = look.card.model_copy(update={"classes": names})
    return Look(card, "test images", confusion, look.curve, {0: ()})
