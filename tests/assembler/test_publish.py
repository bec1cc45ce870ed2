"""As many images go with the weights as there is room for."""

from assembler.publish import named_per_class, stored_per_class
from supernet.data import DataSet
from supernet.stored import images_bytes
from tests.small import CLASSES, small_images

DATA = DataSet("stripes", CLASSES, small_images(400, 1), small_images(200, 2), small_images(10, 3))


def test_the_images_fill_their_room_but_not_more() -> None:
    budget = 200_000
    to_calibrate, to_validate = stored_per_class(DATA, budget)
    size = len(images_bytes(DATA.train.balanced(to_calibrate, 0), DATA.val.balanced(to_validate, 0)))
    assert 0.85 * budget < size <= 1.03 * budget
    assert to_calibrate > 3 * to_validate


def test_there_are_always_a_few() -> None:
    assert stored_per_class(DATA, 10) == (8, 8)


def test_named_images_are_many_but_bounded() -> None:
    assert named_per_class(10) == (1500, 300)
    assert named_per_class(100) == (200, 30)
