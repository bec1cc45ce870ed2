"""A plot of a front stands alone, shows every point where its figures say, and trusts no name."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from assembler.artifact import Predicted
from assembler.look.front import NAMESPACE, front_svg
from assembler.pareto import Digests, Front, FrontPoint, Margins
from supernet.task import Kind, Task
from tests.assembler.look.seen import HOSTILE

PLAIN = {"svg", "title", "style", "rect", "text", "g", "path", "polyline", "circle"}


def point(latency_ms: float, accuracy: float) -> FrontPoint:
    figures = Predicted(latency_ms=latency_ms, memory_mb=2, size_mb=latency_ms, accuracy=accuracy)
    return FrontPoint(
        predicted=figures, latency_share=latency_ms / 2, side_px=28, limits={"latency_ms": latency_ms}
    )


def seen(*points: FrontPoint, classes: tuple[str, ...] = ("bag", "coat"), other: bool = False) -> Front:
    return Front(
        device="local",
        supernet="clothes",
        task=Task(kind=Kind.CLASSIFICATION, classes=classes, other=other),
        digests=Digests(supernet="sha256:0", profile="sha256:1"),
        margins=Margins(latency_ms=0.04, memory_mb=0.05),
        accuracy_error=0.012,
        dense=Predicted(latency_ms=2.0, memory_mb=3, size_mb=2, accuracy=0.97),
        points=points,
    )


def drawn(front: Front) -> Element:
    return ElementTree.fromstring(front_svg(front))


def all_of(drawing: Element, name: str) -> list[Element]:
    return drawing.findall(f".//{{{NAMESPACE}}}{name}")


def words(drawing: Element) -> str:
    return " | ".join(text.text or "" for text in all_of(drawing, "text"))


@pytest.mark.parametrize("quickest", [0.05, 1.0])
def test_every_point_is_drawn_the_quicker_the_further_left_and_the_better_the_higher(quickest: float) -> None:
    points = [point(quickest, 0.8), point(1.2, 0.9), point(1.9, 0.96)]
    drawing = drawn(seen(*points))
    dots = [tuple(float(dot.attrib[name]) for name in ("cx", "cy", "r")) for dot in all_of(drawing, "circle")]
    assert len(dots) == 3
    assert dots == sorted(dots)
    assert [y for _, y, _ in dots] == sorted((y for _, y, _ in dots), reverse=True)
    assert [r for _, _, r in dots] == sorted(r for _, _, r in dots)
    assert ("logarithmic" in words(drawing)) == (quickest < 0.1)
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    assert all(0 < x < width and 0 < y < height for x, y, _ in dots)


def test_axes_units_classes_device_and_supernet_are_said() -> None:
    said = words(drawn(seen(point(0.5, 0.9), other=True)))
    for word in ("bag, coat, other on local", "ms", "accuracy", "Supernet clothes", "1.2 points", "0.5 MB"):
        assert word in said
    hovers = [text.text for text in all_of(drawn(seen(point(0.5, 0.9))), "title")]
    assert "90.0 % at 0.5 ms (25.0 % of the dense net's), 2 MB memory, 0.5 MB file, image of 28 px" in hovers
    assert any("dense net: 97.0 %" in (hover or "") for hover in hovers)


def test_names_are_shown_and_never_obeyed() -> None:
    for name in HOSTILE:
        front = seen(point(0.5, 0.9), classes=(name, "coat"))
        front = front.model_copy(update={"supernet": name})
        page = front_svg(front)
        drawing = ElementTree.fromstring(page)
        names = {element.tag.removeprefix(f"{{{NAMESPACE}}}") for element in drawing.iter()}
        assert names <= PLAIN
        assert not [key for element in drawing.iter() for key in element.attrib if key.startswith("on")]
        assert "href" not in {key for element in drawing.iter() for key in element.attrib}


def test_of_many_classes_as_many_are_named_as_have_room() -> None:
    said = words(drawn(seen(point(0.5, 0.9), classes=tuple(f"a class {n}" for n in range(90)))))
    assert "a class 0, a class 1, a class 2, a class 3 and 86 more on local" in said
    long = words(drawn(seen(point(0.5, 0.9), classes=("x" * 200, "coat"))))
    assert "x" * 23 not in long


def test_a_front_without_points_shows_the_dense_net_alone() -> None:
    drawing = drawn(seen())
    assert all_of(drawing, "circle") == []
    assert "No model keeps to these bounds." in words(drawing)
    assert [path for path in all_of(drawing, "path") if path.attrib["class"] == "mark"]
