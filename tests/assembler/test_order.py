"""What is asked of a training run, and what is picked where nothing is asked."""

from pathlib import Path

import numpy as np
import pytest

from assembler.errors import OrderInvalid
from assembler.order import Order, setup_of
from supernet.augment import Augmentation
from supernet.backbones import LITE0
from tests.photos import classes_in
from tests.published import idx_files, put_idx
from tests.small import CLASSES, small_images


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    members: dict[str, object] = {"classes": np.array(CLASSES)}
    for number, split in enumerate(("train", "val", "test")):
        images = small_images(10, number)
        members |= {f"x_{split}": images.images[:, 0], f"y_{split}": images.labels}
    np.savez(tmp_path / "stripes.npz", **members)  # type: ignore[arg-type]
    return tmp_path / "stripes.npz"


def order(data: Path, **asked: object) -> Order:
    return Order(data=data, work=data.parent / "run", device="cpu", **asked)  # type: ignore[arg-type]


def test_small_images_are_moved_and_photographs_cropped_unless_it_is_said_otherwise(stripes: Path) -> None:
    small, photos = order(stripes), order(stripes, backbone=LITE0.name)
    assert small.recipe.augmentation == Augmentation(2, False, 0.25, 0.0, 0.0)
    assert photos.recipe.augmentation == Augmentation(0, True, 0.0, 0.5, 0.2)
    assert small.recipe.learning_rate > photos.recipe.learning_rate
    said = order(stripes, backbone=LITE0.name, flip=False, zoom=0.0, learning_rate=0.3)
    assert said.recipe.augmentation == Augmentation(0, False, 0.0, 0.0, 0.2)
    assert said.recipe.learning_rate == 0.3


def test_photographs_are_as_large_as_the_published_network_sees_them(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=5, dog=5)
    assert setup_of(order(tmp_path / "pets")).architecture.input.height == 32
    grown = setup_of(order(tmp_path / "pets", backbone=LITE0.name, sides=(96,)))
    assert grown.architecture.every_side == (None, 96)
    assert grown.architecture.input.height == 128
    assert setup_of(order(tmp_path / "pets", backbone=LITE0.name)).architecture.sides == (96, 64)
    assert setup_of(order(tmp_path / "pets", backbone=LITE0.name, side_px=160)).architecture.sides == (
        128,
        96,
        64,
    )
    assert setup_of(order(tmp_path / "pets", backbone=LITE0.name, side_px=64)).architecture.sides == ()


def test_what_was_found_in_the_images_is_told_before_steps_are_timed(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=20, dog=20)
    told: list[str] = []
    setup_of(order(tmp_path / "pets", side_px=32, minutes=60.0), told.append)
    assert len(told) == 2
    assert "images" in told[0]
    assert told[1] == "timing a few steps at 32 px"
    setup_of(order(tmp_path / "pets", side_px=32, minutes=60.0), told.append)
    assert told[2:] == told[:1]


def test_what_was_picked_for_some_minutes_stays_for_a_run(stripes: Path) -> None:
    first = setup_of(order(stripes, minutes=60.0))
    assert first.recipe.batch == 32
    assert first.recipe.epochs > 1
    again = setup_of(order(stripes, minutes=60.0))
    assert again.recipe == first.recipe
    assert again.effort == first.effort
    assert again.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("asked", "option", "told"),
    [
        ({"channels": 2}, "channels", "1 or 3"),
        ({"backbone": "resnet"}, "from", "efficientnet-lite0"),
        ({"minutes": 2.0, "epochs": 3.0}, "minutes", "leave those out"),
        ({"minutes": 0.1}, "minutes", "too short for 60 images"),
        ({"backbone": LITE0.name}, "from", "RGB"),
        ({"sides": (10,)}, "sides", "multiple of 4"),
        ({"without": frozenset({"luck"})}, "without", "no piece"),
    ],
)
def test_what_cannot_be_names_its_option(
    stripes: Path, asked: dict[str, object], option: str, told: str
) -> None:
    with pytest.raises(OrderInvalid, match=told) as refused:
        setup_of(order(stripes, **asked))
    assert refused.value.option == option
    assert not (stripes.parent / "run").exists()


def test_published_images_keep_a_small_side_but_are_photographs_to_a_published_network(
    tmp_path: Path,
) -> None:
    published = Path("torchvision:MNIST")
    put_idx(tmp_path, "MNIST", idx_files({"train": 100, "t10k": 20}))
    for asked, side_px, channels in (
        ({}, 28, 1),
        ({"side_px": 16}, 16, 1),
        ({"backbone": LITE0.name}, 128, 3),
    ):
        setup = setup_of(Order(published, tmp_path / "run", "cpu", datasets=tmp_path, **asked))  # type: ignore[arg-type]
        image = setup.architecture.input
        assert (image.height, image.channels) == (side_px, channels)


def test_images_of_a_published_data_set_cannot_be_named_and_none_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(OrderInvalid, match="cannot be named") as refused:
        Order(Path("torchvision:MNIST"), tmp_path / "run", "cpu", store_images=False)
    assert refused.value.option == "no-store-images"


def test_images_of_a_folder_cannot_be_named(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=5, dog=5)
    with pytest.raises(OrderInvalid, match="cannot be named"):
        setup_of(order(tmp_path / "pets", store_images=False))
