"""The figures of a page are those that can be counted elsewhere."""

import base64
import io

import numpy as np
import onnxruntime
from PIL import Image

from assembler.look.facts import Look
from assembler.nominal import nominal_profile
from assembler.references import read_references
from supernet.checkpoint import Checkpoint
from supernet.gates import full_gates
from supernet.task import Outputs
from tests.assembler.look.seen import TEST, answers, parsed, rows, text
from tests.shapes import SMALL
from tests.small import CLASSES


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
