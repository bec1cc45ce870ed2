"""As many images go with the weights as there is room for."""

from assembler.publish import images_per_class
from supernet.checkpoint import images_bytes
from supernet.data import DataSet
from tests.small import CLASSES, small_images

DATA = DataSet("stripes", CLASSES, small_images(400, 1), small_images(200, 2), small_images(10, 3))


def test_the_images_fill_their_room_but_not_more() -> None:
    budget = 200_000
    to_calibrate, to_validate = images_per_class(DATA, budget)
    size = len(images_bytes(DATA.train.balanced(to_calibrate, 0), DATA.val.balanced(to_validate, 0)))
    assert 0.85 * budget < size <= 1.03 * budget
    assert to_calibrate > 3 * to_validate


def test_there_are_always_a_few() -> None:
    assert images_per_class(DATA, 10) == (16, 8)
