"""The page of a checkpoint says what can be counted elsewhere, needs nothing else, and trusts no name."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assembler.look.drawing import ticks
from assembler.look.examine import confusion_of, examine
from assembler.look.facts import Look, Mistake, accuracy_by_class, confused_pairs, curve_of, worst_classes
from assembler.look.page import page_of
from assembler.nominal import nominal_profile
from assembler.propose import Estimator
from assembler.references import read_references
from supernet.checkpoint import Checkpoint, file_digests, load_checkpoint, named_bytes, save_checkpoint
from supernet.data import Split
from supernet.gates import full_gates
from supernet.model import calibrate
from supernet.named import NAMED_FILE
from supernet.task import Outputs
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_images, small_supernet

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
PLAIN = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "section", "div", "span"}
TABLES = {"table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "img"}
DRAWINGS = {"svg", "path", "text", "polyline", "circle", "rect", "title"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("zoo") / "small"
    small_checkpoint(folder, small_supernet())
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def look(checkpoint: Checkpoint) -> Look:
    confusion = confusion_of(checkpoint.supernet, checkpoint.calibration, TEST)
    return examine(checkpoint, Estimator(checkpoint.folder, checkpoint.card), confusion, "test images")


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


def test_the_confusion_matrix_counts_what_the_dense_net_answers(checkpoint: Checkpoint, look: Look) -> None:
    counted = [["" for _ in CLASSES] for _ in CLASSES]
    given = list(zip(TEST.labels.tolist(), answers(checkpoint, TEST), strict=True))
    for pair in set(given):
        counted[pair[0]][pair[1]] = str(given.count(pair))
    page = parsed(look)
    found = rows(page, ".//table[@class='confusion']")
    assert [row[0] for row in found] == list(CLASSES)
    assert [row[1:] for row in found] == counted
    right = sum(true == answer for true, answer in given)
    assert f"on 240 test images: {100 * right / 240:.1f} % right" in text(page)


def test_classes_are_told_worst_first(checkpoint: Checkpoint, look: Look) -> None:
    right = dict.fromkeys(CLASSES, 0)
    for label, answer in zip(TEST.labels.tolist(), answers(checkpoint, TEST), strict=True):
        right[CLASSES[label]] += label == answer
    found = rows(parsed(look), ".//section[@id='worst']//table")
    expected = {name: [str(count), "40", f"{100 * count / 40:.1f} %"] for name, count in right.items()}
    assert {row[0]: row[1:] for row in found} == expected
    assert [int(row[1]) for row in found] == sorted(right.values())


def test_the_most_confused_pairs_are_listed_first(checkpoint: Checkpoint, look: Look) -> None:
    given = list(zip(TEST.labels.tolist(), answers(checkpoint, TEST), strict=True))
    wrong = {pair: given.count(pair) for pair in set(given) if pair[0] != pair[1]}
    found = rows(parsed(look), ".//div[@id='pairs']/table")
    assert len(found) == min(15, len(wrong)) > 3
    for true, taken_for, images, share in found:
        count = wrong[CLASSES.index(true), CLASSES.index(taken_for)]
        assert (images, share) == (str(count), f"{100 * count / 40:.1f} %")
    assert [int(row[2]) for row in found] == sorted(wrong.values(), reverse=True)[:15]


def test_the_curve_is_what_predictor_and_nominal_device_say(checkpoint: Checkpoint, look: Look) -> None:
    session = onnxruntime.InferenceSession(str(checkpoint.folder / "predictor.onnx"))
    with (checkpoint.folder / "references.npz").open("rb") as file:
        references = read_references(file)
    profile = nominal_profile(SMALL)
    expected = []
    for gates in (proposal.gates for proposal in look.curve):
        side = gates.side or 16
        asked = {
            "fare": references.fare(Outputs(tuple(range(6)), tuple(range(6))))[None],
            "outputs": np.full((1, 1), 6.0, np.float32),
            "shares": np.array([[*np.divide(gates.counts, SMALL.modules), side / 16]], np.float32),
            "other": np.zeros((1, 1), np.float32),
        }
        accuracy = float(session.run(["accuracy"], asked)[0][0, 0])
        latency_ms = profile.latency_at(gates.side).predict_ms(gates.counts)
        expected.append((latency_ms, accuracy, f"{sum(gates.counts)} of 11", f"{side} px"))
    page = parsed(look)
    found = rows(page, ".//section[@id='curve']//table")
    assert [(row[0], row[1], *row[3:]) for row in found] == [
        (f"{ms:.3f} ms", f"{100 * accuracy:.1f} %", *rest) for ms, accuracy, *rest in expected
    ]
    assert sorted(expected) == expected
    assert look.curve[-1].gates == full_gates(SMALL)
    assert 5 <= len(found) <= 13
    circles = page.findall(".//section[@id='curve']//circle")
    for axis, values in (("cx", [each[0] for each in expected]), ("cy", [each[1] for each in expected])):
        drawn = [float(circle.attrib[axis]) for circle in circles]
        slope, start = np.polyfit(values, drawn, 1)
        np.testing.assert_allclose(drawn, slope * np.array(values) + start, atol=0.2)
        assert (slope > 0) == (axis == "cx")


def test_the_facts_are_those_of_the_card(look: Look) -> None:
    facts = {row[0]: row[1] for row in rows(parsed(look), ".//section[@id='facts']/table")}
    assert facts["Dense net"] == "50.0 % right of 6 test images"
    assert facts["Predicted accuracy"].startswith("off by 10.00 points")
    assert (facts["Data"], facts["Licence"], facts["Credit"]) == ("bands", "MIT", "-")
    assert facts["Classes"] == "ant, bee, cat, dog, eel, fox"
    assert facts["Digest"] == look.card.digest


def test_the_images_shown_are_stored_ones_that_are_wrong(checkpoint: Checkpoint, look: Look) -> None:
    data = checkpoint.validation
    wrong = {
        (image.tobytes(), CLASSES[label], CLASSES[answer])
        for image, label, answer in zip(data.images, data.labels, answers(checkpoint, data), strict=True)
        if label != answer
    }
    assert look.mistakes is not None
    images = parsed(look).findall(".//img")
    assert len(images) == sum(len(each) for each in look.mistakes.values()) > 5
    for image in images:
        png = base64.b64decode(image.attrib["src"].removeprefix("data:image/png;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        true, taken_for = image.attrib["alt"].split(", taken for ")
        assert (pixels.tobytes(), true, taken_for) in wrong


def test_no_image_is_shown_that_is_right(checkpoint: Checkpoint) -> None:
    few = checkpoint.validation.at(np.arange(36))
    confusion = confusion_of(checkpoint.supernet, checkpoint.calibration, few)
    estimator = Estimator(checkpoint.folder, checkpoint.card)
    found = examine(replace(checkpoint, validation=few), estimator, confusion, "few images").mistakes
    assert found is not None
    assert 0 < confusion.trace() < 36
    for true, mistakes in found.items():
        taken_for = sorted(mistake.taken_for for mistake in mistakes)
        assert taken_for == sorted(np.repeat(np.arange(6), confusion[true] * (np.arange(6) != true)))


def test_a_checkpoint_that_only_names_its_images_shows_none(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    card = small_checkpoint(folder, small_supernet())
    members: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
    for seed, split in enumerate(("train", "val", "test")):
        images = small_images(20, seed)
        members |= {f"x_{split}": images.images[:, 0], f"y_{split}": images.labels}
    np.savez(tmp_path / "stripes.npz", **members)  # type: ignore[arg-type]
    files = {name: (folder / name).read_bytes() for name in card.files if name != "images.npz"}
    files[NAMED_FILE] = named_bytes(tmp_path / "stripes.npz", np.arange(60), np.arange(60))
    save_checkpoint(folder, card.model_copy(update={"files": file_digests(files)}), files)
    named = load_checkpoint(folder, datasets=tmp_path)
    confusion = confusion_of(named.supernet, named.calibration, named.validation)
    page = page_of(examine(named, Estimator(files, named.card), confusion, "validation images"))
    assert confusion.trace() < confusion.sum()
    assert "<img" not in page
    assert "data:image" not in page
    assert "names its images instead of holding them, so none is shown" in page


@pytest.mark.parametrize("classes", [6, 17, 100])
def test_names_are_shown_and_never_obeyed(look: Look, classes: int) -> None:
    many = of_many(look, classes)
    source = many.card.data.model_copy(update={"credit": HOSTILE[0], "licence": HOSTILE[1]})
    training = many.card.training.model_copy(update={"command": HOSTILE[2]})
    card = many.card.model_copy(update={"data": source, "training": training, "name": HOSTILE[0]})
    mistake = Mistake(np.zeros((3, 8, 8), np.uint8), 1)
    page = page_of(Look(card, many.tried_on, many.confusion, many.curve, {0: (mistake,)}))
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Reader().feed(page)
    assert {name for name, _ in seen} <= PLAIN | TABLES | DRAWINGS
    assert not any(key.startswith("on") for _, attributes in seen for key in attributes)
    facts = {row[0]: row[1] for row in rows(ElementTree.fromstring(page), ".//section[@id='facts']/table")}
    assert facts["Classes"].startswith(", ".join(READABLE))
    assert (facts["Credit"], facts["Licence"], facts["Command"]) == HOSTILE[:3]


@pytest.mark.parametrize("classes", [6, 100])
def test_nothing_is_loaded_from_anywhere(look: Look, classes: int) -> None:
    page = parsed(look if classes == 6 else of_many(look, classes))
    for element in page.iter():
        assert not {"href", "srcset", "data", "action", "poster", "style"} & element.attrib.keys()
        assert element.attrib.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    style = page.findtext(".//style")
    assert style is not None
    assert not any(word in style for word in ("url(", "@import", "image-set", "http"))
    assert page.find(".//meta[@http-equiv]").attrib["content"].startswith("default-src 'none';")  # type: ignore[union-attr]


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


def test_a_class_without_images_has_no_accuracy_and_comes_last(look: Look) -> None:
    many = of_many(look, 17)
    assert np.isnan(accuracy_by_class(many.confusion)[1])
    assert 1 not in worst_classes(many.confusion, 17)
    assert rows(parsed(many), ".//section[@id='worst']//table")[-1] == [HOSTILE[1], "0", "0", "-"]


def test_a_net_that_is_always_right_has_nothing_to_show(look: Look) -> None:
    perfect = np.diag([40] * 6)
    assert worst_classes(perfect, 5) == []
    assert confused_pairs(perfect, 5) == []
    page = page_of(Look(look.card, "test images", perfect, look.curve, {}))
    assert page.count("No image is taken for another class.") == 2
    assert "100.0 % right" in page


def test_a_name_that_no_scenario_may_have_is_no_hindrance(checkpoint: Checkpoint) -> None:
    card = checkpoint.card.model_copy(update={"classes": ("", "x" * 300, *CLASSES[2:])})
    assert curve_of(Estimator(checkpoint.folder, card))


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_ticks_enclose_what_is_drawn_at_equal_steps(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert found[0] <= low + 1e-6
    assert found[-1] >= high - 1e-6
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-6)
