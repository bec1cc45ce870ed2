"""Front: a Pareto front as a plot that stands alone, SVG without script."""

import math
from collections.abc import Sequence

from assembler.look import drawing
from assembler.look.drawing import HEIGHT, WIDTH, Frame, diamond, log_ticks, percent, ticks
from assembler.look.markup import Markup, tag
from assembler.pareto import Front, FrontPoint

NAMESPACE = "http://www.w3.org/2000/svg"
HEAD = 76
MARGIN = 16
# From this factor between the quickest and the slowest net on, latency is drawn by equal factors.
WIDE = 6.0
SMALLEST_DOT, LARGEST_DOT = 3.0, 9.0
LONGEST_TITLE = 46
STYLE = """svg { font: 12px system-ui, sans-serif } .dot { fill: #0550ae; fill-opacity: .75; stroke: #fff }
.title { font-size: 16px; font-weight: 600 } svg .note { fill: #57606a } .paper { fill: #fff }
"""


def front_svg(front: Front) -> str:
    """Return accuracy over latency: a dot a point, the larger the larger its file, and the dense net apart.

    It is well-formed XML, whatever classes are named, and the same for an equal Front.
    """
    title = f"{_listed([*front.task.classes, *(['other'] if front.task.other else [])])} on {front.device}"
    drawn = tag(
        "svg",
        tag("title", title),
        tag("style", Markup(drawing.STYLE + STYLE)),
        tag("rect", width="100%", height="100%", class_="paper"),
        tag("text", title, x=MARGIN, y=26, class_="title"),
        *_notes(front),
        tag("g", *_plot(front), transform=f"translate(0 {HEAD})"),
        xmlns=NAMESPACE,
        viewBox=f"0 0 {WIDTH} {HEIGHT + HEAD}",
        width=WIDTH,
        height=HEIGHT + HEAD,
        role="img",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawn}\n'


def _notes(front: Front) -> list[Markup]:
    points = front.points
    files = [point.predicted.size_mb for point in points] or [0.0]
    dots = f"Area of a dot: its file, {min(files):.3g} to {max(files):.3g} MB."
    if not points:
        dots = "No model keeps to these bounds."
    error = f"predicted accuracy is off by {100 * front.accuracy_error:.1f} points on average"
    return [
        tag("text", f"Supernet {front.supernet}; {error}.", x=MARGIN, y=46, class_="note"),
        tag("text", f"{dots} Diamond: the dense net.", x=MARGIN, y=63, class_="note"),
    ]


def _plot(front: Front) -> list[Markup]:
    shown = [front.dense, *(point.predicted for point in front.points)]
    latencies, accuracies = [one.latency_ms for one in shown], [one.accuracy for one in shown]
    log = max(latencies) > WIDE * min(latencies)
    across = log_ticks(min(latencies), max(latencies)) if log else ticks(0.0, max(latencies))
    frame = Frame(across, ticks(min(accuracies), max(accuracies)), log)
    largest = max(one.size_mb for one in shown)
    placed = [frame.place(point.predicted.latency_ms, point.predicted.accuracy) for point in front.points]
    dots = [
        tag("circle", tag("title", _said(point)), cx=x, cy=y, r=_radius(point, largest), class_="dot")
        for point, (x, y) in zip(front.points, placed, strict=True)
    ]
    unit = f"predicted latency of one image on {front.device}, ms"
    dense = front.dense
    return [
        *frame.draw(unit + (", logarithmic" if log else ""), "predicted accuracy"),
        tag("polyline", points=" ".join(f"{x},{y}" for x, y in placed), class_="line"),
        *dots,
        diamond(
            *frame.place(dense.latency_ms, dense.accuracy),
            f"the dense net: {percent(dense.accuracy)}, {dense.latency_ms:g} ms, {dense.memory_mb:g} MB memory, "
            f"{dense.size_mb:g} MB file",
        ),
    ]


def _radius(point: FrontPoint, largest_mb: float) -> str:
    """Return the radius of a dot whose area, but for the smallest, goes with the file."""
    share = point.predicted.size_mb / largest_mb
    return f"{max(SMALLEST_DOT, LARGEST_DOT * math.sqrt(min(share, 1.0))):.1f}"


def _said(point: FrontPoint) -> str:
    figures, share = point.predicted, percent(point.latency_share)
    return (
        f"{percent(figures.accuracy)} at {figures.latency_ms:g} ms ({share} of the dense net's), "
        f"{figures.memory_mb:g} MB memory, {figures.size_mb:g} MB file, image of {point.side_px} px"
    )


def _listed(names: Sequence[str]) -> str:
    """Return names in a row, as many as a title has room for."""
    kept: list[str] = []
    for name in names:
        short = drawing.shorten(name)
        if kept and len(", ".join([*kept, short])) > LONGEST_TITLE:
            return f"{', '.join(kept)} and {len(names) - len(kept)} more"
        kept.append(short)
    return ", ".join(kept)
