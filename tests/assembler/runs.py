"""Small training runs that tests share."""

from dataclasses import replace
from pathlib import Path

from assembler.effort import Effort
from assembler.train import Setup
from supernet.augment import Augmentation
from supernet.data import DataSet
from supernet.train import Recipe
from tests.shapes import SMALL
from tests.small import CLASSES, small_images

DATA = DataSet("stripes", CLASSES, small_images(20, 1), small_images(20, 2), small_images(10, 3))


def small_setup(work: Path, **changed: object) -> Setup:
    recipe = Recipe(epochs=6, batch=24, learning_rate=0.05, augmentation=Augmentation(1, False, 0.0))
    return replace(Setup(SMALL, DATA, work, recipe, effort=Effort(networks=10, pairs=20)), **changed)  # type: ignore[arg-type]


def short_setup(work: Path, **changed: object) -> Setup:
    setup = small_setup(work, effort=Effort(networks=3, pairs=20), **changed)
    return replace(setup, recipe=replace(setup.recipe, epochs=2))
