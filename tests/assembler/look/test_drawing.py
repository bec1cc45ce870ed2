"""What is drawn stands where its figure says."""

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.look.drawing import LEVELS, Point, curve, level, log_ticks, shorten, ticks
from assembler.look.facts import Look
from tests.assembler.look.seen import READABLE, of_many, parsed


@pytest.mark.parametrize("classes", [17, 100])
def test_a_heat_map_tells_every_count_on_hover(look: Look, classes: int) -> None:
    many = of_many(look, classes)
    names = (*READABLE, *many.card.classes[6:])
    page = parsed(many)
    assert page.find(".//table[@class='confusion']") is None
    told = {
        (float(cell.attrib["y"]), float(cell.attrib["x"])): cell.findtext("title")
        for cell in page.findall(".//section[@id='confusion']//rect")
    }
    expected = [
        f"{names[row]}, taken for {names[column]}: {count} of {many.confusion[row].sum()} "
        f"({100 * count / many.confusion[row].sum():.1f} %)"
        for (row, column), count in np.ndenumerate(many.confusion)
        if count
    ]
    assert [told[place] for place in sorted(told)] == expected


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_ticks_enclose_what_is_drawn_at_equal_steps(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert found[0] <= low + 1e-6
    assert found[-1] >= high - 1e-6
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-6)


@given(st.floats(1e-4, 1e4), st.floats(1e-4, 1e4))
def test_logarithmic_ticks_enclose_what_is_drawn_in_steps_of_about_two(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = log_ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert len(found) >= 2
    assert all(1.9 < after / before < 2.6 for before, after in pairwise(found))


@given(st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_larger_share_is_never_paler(one: float, other: float, right: bool) -> None:
    less, more = (int(level(share, right=right)[1:]) for share in sorted((one, other)))
    assert 0 <= less <= more <= LEVELS


def test_even_a_small_share_of_wrong_images_has_a_colour() -> None:
    assert level(0.001, right=True) == "r0"
    assert level(0.001, right=False) == "w1"
    assert level(0.0, right=False) == "w0"


def test_a_curve_of_one_point_is_drawn_inside_its_picture() -> None:
    drawn = ElementTree.fromstring(curve([Point(0.0, 0.5, "a")], Point(0.0, 0.5, "b"), "x", "y"))
    (circle,) = drawn.findall("circle")
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    assert 0 < float(circle.attrib["cx"]) < width
    assert 0 < float(circle.attrib["cy"]) < height


def test_only_a_long_name_is_shortened() -> None:
    assert shorten("x" * 22) == "x" * 22
    assert shorten("x" * 23) == "x" * 21 + "…"
