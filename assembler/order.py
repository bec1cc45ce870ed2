"""Order: what is asked of a training run, and the Setup that follows from it and from the images.

What is not asked for is picked: from the published network it starts with, from the images, and, where it must end
within some minutes, from the pace of this machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from assembler.effort import MOST, Chosen, Effort, choose, keep, kept
from assembler.errors import OrderInvalid
from assembler.publish import named_per_class, stored_per_class
from assembler.train import Setup
from supernet.augment import Augmentation
from supernet.backbones import BACKBONES
from supernet.card import Architecture
from supernet.data import DataSet, load_data
from supernet.design import small_design
from supernet.published import is_published
from supernet.train import Recipe

EPOCHS, BATCH, LEARNING_RATE = 60.0, 192, 0.1
SHIFT_PX, ERASE = 2, 0.25
# From a published network.
PHOTO_BATCH, PHOTO_SIDE_PX, PHOTO_LEARNING_RATE = 64, 128, 0.04
PHOTO_IMITATE = 1.0
PHOTO_ZOOM, PHOTO_COLOR = 0.5, 0.2
# Of the whole image, where minutes are few: tried one after the other until there are epochs enough.
FEW_MINUTES_SIDES_PX = (96, 64)
# What models of photographs may shrink their image to.
SHRUNK_PHOTO_SIDES_PX = (128, 96, 64)
ENOUGH_EPOCHS = 15.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """A training run as it is asked for; None leaves the choice. See ``nnfactory train --help`` for what each means."""

    data: Path
    work: Path
    device: str
    backbone: str | None = None
    minutes: float | None = None
    epochs: float | None = None
    batch: int | None = None
    pairs: int | None = None
    learning_rate: float | None = None
    shift_px: int | None = None
    flip: bool | None = None
    erase: float | None = None
    zoom: float | None = None
    color: float | None = None
    side_px: int | None = None
    sides: tuple[int, ...] = ()
    channels: int | None = None
    store_images: bool = True
    processes: int = 1
    seed: int = 0
    without: frozenset[str] = frozenset()
    datasets: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what no images could make right."""
        if self.channels not in (None, 1, 3):
            raise OrderInvalid("channels", "must be 1 or 3")
        if self.backbone is not None and self.backbone not in BACKBONES:
            raise OrderInvalid("from", f"must be one of: {', '.join(BACKBONES)}")
        if self.minutes is not None and (self.epochs, self.batch, self.pairs) != (None, None, None):
            raise OrderInvalid("minutes", "picks epochs, batch and pairs; leave those out")
        if not self.store_images and is_published(self.data):
            raise OrderInvalid(
                "no-store-images", "images of a published data set cannot be named by their place"
            )

    @property
    def recipe(self) -> Recipe:
        """How to train, as far as the time allowed does not decide it."""
        photos = self.backbone is not None

        def either(asked: T | None, small: T, photo: T) -> T:
            if asked is not None:
                return asked
            return photo if photos else small

        return Recipe(
            epochs=either(self.epochs, EPOCHS, EPOCHS),
            batch=either(self.batch, BATCH, PHOTO_BATCH),
            learning_rate=either(self.learning_rate, LEARNING_RATE, PHOTO_LEARNING_RATE),
            imitate=PHOTO_IMITATE if photos else 0.0,
            stands=photos,
            bfloat16=self.device == "cuda",
            seed=self.seed,
            augmentation=Augmentation(
                shift_px=either(self.shift_px, SHIFT_PX, 0),
                flip=either(self.flip, False, True),
                erase=either(self.erase, ERASE, 0.0),
                zoom=either(self.zoom, 0.0, PHOTO_ZOOM),
                color=either(self.color, 0.0, PHOTO_COLOR),
            ),
        )


def setup_of(order: Order, tell: Callable[[str], None] = lambda text: None) -> Setup:
    """Return the run that an Order asks for; what was picked for one that is there is picked again.

    Args:
        order: what is asked for.
        tell: is called with the report on the images as soon as they are read, and before steps are timed, which takes
            a while.

    Raises:
        OrderInvalid: the images do not suit what is asked, or no run ends within the time allowed.
        DataInvalid: the images cannot be used.
        RunUnusable: what is there was planned otherwise.
    """
    if order.minutes is None:
        setup = _setup(order, order.side_px, order.recipe, replace(MOST, pairs=order.pairs or MOST.pairs))
        _tell_report(setup, tell)
        return setup
    if (known := kept(order.work, order.minutes)) is not None:
        setup = _as_chosen(_setup(order, known.side_px, order.recipe, known.effort), known)
        _tell_report(setup, tell)
        return setup
    began = time.monotonic()
    picks = order.backbone is not None and order.side_px is None
    for place, side in enumerate((None, *FEW_MINUTES_SIDES_PX) if picks else (order.side_px,)):
        setup = _setup(order, side, order.recipe, MOST)
        if place == 0:
            _tell_report(setup, tell)
        tell(f"timing a few steps at {setup.architecture.input.height} px")
        chosen = _chosen(order.minutes, setup, time.monotonic() - began)
        if chosen.epochs >= ENOUGH_EPOCHS:
            break
    if chosen.epochs < 1:
        raise OrderInvalid("minutes", f"is too short for {len(setup.data.train)} images on this machine")
    keep(chosen, order.work)
    return _as_chosen(setup, chosen)


def _tell_report(setup: Setup, tell: Callable[[str], None]) -> None:
    if setup.data.report:
        tell(setup.data.report)


def _chosen(minutes: float, setup: Setup, spent_s: float) -> Chosen:
    return choose(
        minutes,
        architecture=setup.architecture,
        data=setup.data,
        recipe=setup.recipe,
        per_class=setup.per_class,
        alone=setup.shares["full"],
        processes=setup.processes,
        device=setup.device,
        published=setup.backbone is not None,
        spent_s=spent_s,
    )


def _as_chosen(setup: Setup, chosen: Chosen) -> Setup:
    recipe = replace(setup.recipe, epochs=chosen.epochs, batch=chosen.batch)
    return replace(setup, recipe=recipe, effort=chosen.effort)


def _setup(order: Order, side_px: int | None, recipe: Recipe, effort: Effort) -> Setup:
    """Return the run on the images at a side, None for the usual one; published networks see RGB photographs."""
    photos = order.backbone is not None
    data = load_data(
        order.data,
        side_px=side_px or (PHOTO_SIDE_PX if photos else None),
        channels=order.channels or (3 if photos else None),
        datasets=order.datasets,
    )
    if data.report and not order.store_images:
        raise OrderInvalid("no-store-images", "images of a folder or zip cannot be named by their place")
    try:
        return Setup(
            architecture=_design(order, data),
            data=data,
            work=order.work,
            recipe=recipe,
            processes=order.processes,
            device=order.device,
            effort=effort,
            per_class=stored_per_class(data) if order.store_images else named_per_class(len(data.classes)),
            without=order.without,
            backbone=order.backbone,
        )
    except ValueError as error:
        raise OrderInvalid("without", str(error)) from error


def _design(order: Order, data: DataSet) -> Architecture:
    _, channels, height, width = data.train.images.shape
    small = order.backbone is None
    if height != width or (small and (height % 4 or not 16 <= height <= 64)):
        reason = f"images are {height} x {width}; squares of 16 to 64 px, a multiple of 4, are needed"
        raise OrderInvalid("data", reason)
    if not small and channels != 3:
        raise OrderInvalid("from", "published networks see RGB images")
    try:
        if order.backbone is None:
            return small_design(channels=channels, side_px=height, sides=order.sides)
        smaller = tuple(side for side in SHRUNK_PHOTO_SIDES_PX if side < height)
        return BACKBONES[order.backbone].design(side_px=height, sides=order.sides or smaller)
    except ValueError as error:
        raise OrderInvalid("sides", str(error)) from error
