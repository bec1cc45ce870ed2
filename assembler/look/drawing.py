"""Drawing: confusion as a heat map and accuracy over latency as a curve, both SVG.

Legend: K classes. Lengths of drawings are px. Colours are those of classes of the page:
``r0``..``r10`` for what is right, ``w0``..``w10`` for what is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assembler.look.markup import Markup, tag

LEVELS = 10
# The side of a cell of a heat map, by how many classes it has at most.
CELLS = ((30, 18), (60, 13), (10_000, 8))
LONGEST_LABEL = 22
LETTER = 0.62
EVERY = 10
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 52
TICKS = 6
STYLE = """svg { font-family: inherit; display: block; max-width: none }
svg text { fill: #1b1f24 }
svg .row { text-anchor: end; dominant-baseline: central }
svg .column { dominant-baseline: central }
svg .below { text-anchor: middle }
.grid { stroke: #d8dee4; fill: none } .line { stroke: #0550ae; stroke-width: 2; fill: none }
.point { fill: #0550ae } .mark { fill: #bc4c00 }
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the curve and what is said of it on hover."""

    x: float
    y: float
    title: str


def level(share: float, *, right: bool) -> str:
    """Return the colour class of a share, 0..1, of a class's images; small shares of wrong ones stand out."""
    return f"r{round(share * LEVELS)}" if right else f"w{math.ceil(math.sqrt(share) * LEVELS)}"


def said(true: str, taken_for: str, images: int, of: int) -> str:
    """Return what a cell of the confusion matrix means."""
    return f"{true}, taken for {taken_for}: {images} of {of} ({percent(images / max(of, 1))})"


def percent(share: float) -> str:
    """Return a share, 0..1, in words."""
    return f"{100 * share:.1f} %"


def heat_map(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> Markup:
    """Return a K x K heat map in which every cell that counts an image says on hover what it means."""
    count = len(classes)
    cell = next(side for most, side in CELLS if count <= most)
    font = min(12, cell)
    margin = 8 + LETTER * font * max(len(shorten(name)) for name in classes)
    side = margin + count * cell
    of = confusion.sum(axis=1)
    cells = [
        tag(
            "rect",
            tag("title", said(classes[row], classes[column], int(images), int(of[row]))),
            x=f"{margin + column * cell:g}",
            y=f"{margin + row * cell:g}",
            width=cell,
            height=cell,
            class_=level(images / of[row], right=row == column),
        )
        for (row, column), images in np.ndenumerate(confusion)
        if images
    ]
    labels = []
    for place, name in enumerate(classes):
        middle = f"{margin + (place + 0.5) * cell:g}"
        edge = f"{margin - 4:g}"
        labels += [
            tag("text", shorten(name), x=edge, y=middle, class_="row"),
            tag("text", shorten(name), transform=f"translate({middle} {edge}) rotate(-90)", class_="column"),
        ]
    lines = [margin + place * cell for place in (*range(0, count, EVERY), count)]
    path = "".join(f"M{margin:g} {at:g}H{side:g}M{at:g} {margin:g}V{side:g}" for at in lines)
    return tag(
        "svg",
        *cells,
        tag("path", d=path, class_="grid"),
        *labels,
        viewBox=f"0 0 {side + 2:g} {side + 2:g}",
        width=f"{side + 2:g}",
        height=f"{side + 2:g}",
        font_size=font,
        role="img",
        aria_label="Confusion matrix: rows are true classes, columns what they are taken for",
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """Two axes, each from its first tick to its last; shares on the upright one are written as per cent.

    ``log`` says whether equal factors are equally wide on the other one, whose ticks are above 0 then.
    """

    across: Sequence[float]
    upright: Sequence[float]
    log: bool = False

    def place(self, x: float, y: float) -> tuple[str, str]:
        """Return where a value stands in the drawing."""
        scaled = math.log if self.log else float
        first, last = scaled(self.across[0]), scaled(self.across[-1])
        right = (scaled(x) - first) / (last - first)
        up = (y - self.upright[0]) / (self.upright[-1] - self.upright[0])
        return (
            f"{LEFT + right * (WIDTH - LEFT - RIGHT):.1f}",
            f"{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}",
        )

    def draw(self, x_label: str, y_label: str) -> list[Markup]:
        """Return grid, ticks and labels."""
        left, bottom = self.place(self.across[0], self.upright[0])
        right, top = self.place(self.across[-1], self.upright[-1])
        grid, labels = "", []
        for tick in self.across:
            x, _ = self.place(tick, self.upright[0])
            grid += f"M{x} {bottom}V{top}"
            labels.append(tag("text", f"{tick:g}", x=x, y=HEIGHT - BOTTOM + 18, class_="below"))
        for tick in self.upright:
            _, y = self.place(self.across[0], tick)
            grid += f"M{left} {y}H{right}"
            labels.append(tag("text", f"{100 * tick:g} %", x=LEFT - 8, y=y, class_="row"))
        turned = f"translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"
        return [
            tag("path", d=grid, class_="grid"),
            *labels,
            tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 10, class_="below"),
            tag("text", y_label, transform=turned, class_="below"),
        ]


def curve(points: Sequence[Point], mark: Point, x_label: str, y_label: str) -> Markup:
    """Return points joined by a line, and one point marked apart, over labelled axes.

    Args:
        points: one at least, by ascending x, which is 0 or more; y is a share, 0..1.
        mark: the point apart.
        x_label: what x is.
        y_label: what y is.
    """
    heights = [mark.y, *(point.y for point in points)]
    frame = Frame(ticks(0.0, max(mark.x, points[-1].x)), ticks(min(heights), max(heights)))
    placed = [frame.place(point.x, point.y) for point in points]
    x, y = frame.place(mark.x, mark.y)
    return tag(
        "svg",
        *frame.draw(x_label, y_label),
        tag("polyline", points=" ".join(f"{x},{y}" for x, y in placed), class_="line"),
        *(
            tag("circle", tag("title", point.title), cx=x, cy=y, r=4, class_="point")
            for point, (x, y) in zip(points, placed, strict=True)
        ),
        diamond(x, y, mark.title),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        font_size=12,
        role="img",
        aria_label=f"{y_label} over {x_label}",
    )


def diamond(x: str, y: str, title: str) -> Markup:
    """Return what marks a place apart."""
    return tag("path", tag("title", title), d=f"M{x} {y}m0-7l7 7-7 7-7-7z", class_="mark")


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from ``low`` or below to ``high`` or above, both above 0; two at least."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = [float(f"{factor}e{power}") for power in powers for factor in (1, 2, 5)]
    last = next(place for place, step in enumerate(steps) if step >= high)
    first = max(place for place, step in enumerate(steps) if step <= low)
    return steps[first : max(last, first + 1) + 1]


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers at equal steps from ``low`` or below to ``high`` or above, two at least."""
    step_at_least = max(high - low, 1e-3) / TICKS
    power = 10.0 ** math.floor(math.log10(step_at_least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step_at_least * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(place * step, 12) for place in range(first, last + 1)]


def shorten(name: str) -> str:
    """Return a name that fits beside a heat map."""
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"
