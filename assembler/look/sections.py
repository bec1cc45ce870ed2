"""Sections: the parts of the page with figures: confusion, worst classes, accuracy against latency.

Legend: K classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from assembler.look.drawing import Point, curve, heat_map, level, percent, said
from assembler.look.facts import Look, Mistake, accuracy_by_class, confused_pairs
from assembler.look.markup import Markup, section, table, tag
from assembler.look.picture import picture

# More classes than this are drawn as a heat map instead of a table of numbers.
MOST_IN_TABLE = 16
PAIRS = 15


def confusion_section(look: Look) -> Markup:
    """Return what the dense net takes for what, K x K and as a list."""
    confusion, classes = look.confusion, look.card.classes
    total = int(confusion.sum())
    lead = (
        f"The dense net on {total:,} {look.tried_on}: {percent(confusion.trace() / max(total, 1))} right. Rows are "
        "true classes, columns what images are taken for. Blue is right, red is wrong; the darker, the larger the "
        "share of the class."
    )
    drawn = _counts(look) if len(classes) <= MOST_IN_TABLE else heat_map(confusion, classes)
    pairs = [
        (classes[pair.true], classes[pair.taken_for], f"{pair.images:,}", percent(pair.share))
        for pair in confused_pairs(confusion, PAIRS)
    ]
    listed = (
        table(("Class", "Taken for", "Images", "Of the class"), pairs, words=2)
        if pairs
        else tag("p", "No image is taken for another class.")
    )
    return section(
        "confusion",
        "What it confuses",
        tag("p", lead, class_="note"),
        tag("div", drawn, class_="wide"),
        tag("h3", "Most confused"),
        tag("div", listed, id="pairs"),
    )


def _counts(look: Look) -> Markup:
    """Return the confusion matrix as a table of numbers."""
    confusion, classes = look.confusion, look.card.classes
    of = confusion.sum(axis=1)
    head = tag("tr", tag("td"), *(tag("th", tag("span", name), scope="col") for name in classes))
    rows = []
    for true, name in enumerate(classes):
        cells = [
            tag(
                "td",
                str(images) if images else "",
                class_=level(images / max(of[true], 1), right=true == other),
                title=said(name, classes[other], images, int(of[true])),
            )
            for other, images in enumerate(confusion[true].tolist())
        ]
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="confusion")


def worst_section(look: Look) -> Markup:
    """Return the classes it is worst at, with stored images where the checkpoint holds them."""
    classes = look.card.classes
    accuracy, of = accuracy_by_class(look.confusion), look.confusion.sum(axis=1)
    order = np.argsort(accuracy, kind="stable")  # classes without images last
    everything = [
        (classes[c], f"{look.confusion[c, c]:,}", f"{of[c]:,}", percent(accuracy[c]) if of[c] else "-")
        for c in order
    ]
    listed = table(("Class", "Right", "Images", "Accuracy"), everything, words=1)
    if look.mistakes is None:
        note = "This checkpoint names its images instead of holding them, so none is shown."
        return section("worst", "Its worst classes", tag("p", note, class_="note"), listed)
    return section(
        "worst",
        "Its worst classes",
        *_mistakes(look.mistakes, classes, accuracy),
        tag("details", tag("summary", "All classes, worst first"), listed),
    )


def _mistakes(
    mistakes: Mapping[int, tuple[Mistake, ...]], classes: Sequence[str], accuracy: npt.NDArray[np.float64]
) -> list[Markup]:
    if not mistakes:
        return [tag("p", "No image is taken for another class.", class_="note")]
    note = (
        "Stored validation images that the dense net is most surely wrong about, with what it takes them for."
    )
    found = [tag("p", note, class_="note")]
    for each, wrong in mistakes.items():
        found.append(tag("h3", f"{classes[each]}: {percent(accuracy[each])} right"))
        found.append(_figures(wrong, classes, each))
    return found


def _figures(mistakes: tuple[Mistake, ...], classes: Sequence[str], true: int) -> Markup:
    if not mistakes:
        return tag("p", "None of the stored validation images of this class is wrong.")
    figures = []
    for mistake in mistakes:
        taken_for = classes[mistake.taken_for]
        image = tag("img", src=picture(mistake.image), alt=f"{classes[true]}, taken for {taken_for}")
        figures.append(tag("figure", image, tag("figcaption", taken_for)))
    return tag("div", *figures)


def curve_section(look: Look) -> Markup:
    """Return accuracy against latency, foretold, for all classes together."""
    figures = look.card.figures
    modules = sum(look.card.architecture.modules)
    side = look.card.architecture.input.height
    points, rows = [], []
    for gates, predicted in ((each.gates, each.predicted) for each in look.curve):
        told = (
            f"{predicted.latency_ms:.3f} ms",
            percent(predicted.accuracy),
            f"{predicted.size_mb:.2f} MB",
            f"{gates.size} of {modules}",
            f"{gates.side or side} px",
        )
        rows.append(told)
        points.append(Point(predicted.latency_ms, predicted.accuracy, ", ".join(told[:2])))
    mark = Point(
        points[-1].x, figures.dense_accuracy, f"dense net, measured: {percent(figures.dense_accuracy)}"
    )
    note = (
        "For all classes together: what the accuracy predictor foretells of models within growing latencies, on the "
        "nominal device, not on a measured one. The last point is the dense net; the diamond is its accuracy as "
        f"measured on {figures.test_images:,} test images."
    )
    drawn = curve(points, mark, "Latency on the nominal device, ms", "Accuracy")
    listed = table(("Latency", "Predicted accuracy", "File", "Modules on", "Image side"), rows, words=0)
    return section(
        "curve",
        "Accuracy against latency",
        tag("p", note, class_="note"),
        tag("div", drawn, class_="wide"),
        tag("details", tag("summary", "In numbers"), listed),
    )
