"""Tables and pictures of what ``quality.py`` found, anew from its JSON:
``python -m benchmarks.report benchmarks/results/quality-cifar10.json``.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from supernet.gates import Gates

Row = dict[str, Any]
# Class sets with networks from scratch that a mean is drawn of.
FEWEST_DRAWN = 5


def main() -> None:
    """Write table and pictures beside the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("found", type=Path)
    options = parser.parse_args()
    report(json.loads(options.found.read_text()), options.found.parent)


def report(found: dict[str, Any], folder: Path) -> None:
    """Write ``quality-<supernet>.md`` and the pictures it shows."""
    name = found["supernet"]
    (folder / f"quality-{name}.md").write_text(table(found))
    draw_accuracy(found, folder / f"accuracy-{name}.png")
    draw_overlap(found, folder / f"overlap-{name}.png")


def cells(rows: Iterable[Row]) -> dict[tuple[int, float | str], list[Row]]:
    """Return the rows that were made by (count of classes, budget), in order."""
    found: dict[tuple[int, float | str], list[Row]] = {}
    for row in rows:
        if row["made"]:
            found.setdefault((len(row["classes"]), row["budget"]), []).append(row)
    return found


def mean(rows: list[Row], name: str) -> float | None:
    """Return the mean of a figure over the rows that have it."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return statistics.mean(values) if values else None


def difference(rows: list[Row], one: str, other: str) -> tuple[float, float, int] | None:
    """Return the mean of one figure less another, its standard error, and how many rows have both."""
    values = [
        row[one] - row[other] for row in rows if row.get(one) is not None and row.get(other) is not None
    ]
    if not values:
        return None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.mean(values), error, len(values)


def table(found: dict[str, Any]) -> str:
    """Return all that was found as Markdown."""
    rows, name = found["rows"], found["supernet"]
    versions = ", ".join(f"{package} {number}" for package, number in found["machine"]["versions"].items())
    lines = [
        f"# Quality of `{name}`",
        "",
        f"Measured by `python -m benchmarks.quality --supernet {name}` on {found['machine']['cpu']}, one thread a "
        f"model, seed {found['seed']}, {versions}. The dense net takes {found['dense_ms']:.3f} ms. Accuracy on test "
        "images, %, means over class sets; differences in points with their standard error.",
        "",
        "## Generated, trained from scratch, cut out without a task",
        "",
        "| classes | limit, share of dense | sets | ms | scratch, ms | generated | dense | scratch "
        "| generated - scratch | agnostic | generated - agnostic | agnostic, head refitted "
        "| generated - agnostic, head refitted | pruned | uniform, head refitted |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    dense = {tuple(row["classes"]): row["dense_refit"] for row in found["dense"]}
    for (count, budget), mine in cells(rows).items():
        for row in mine:
            row["dense"] = dense.get(tuple(row["classes"]))
        share = budget if isinstance(budget, str) else f"{budget:.0%}"
        parts = [
            str(count),
            share,
            str(len(mine)),
            f"{mean(mine, 'measured_ms'):.3f}",
            "" if (theirs := mean(mine, "scratch_ms")) is None else f"{theirs:.3f}",
            percent(mean(mine, "generated")),
            percent(mean(mine, "dense")),
            percent(mean([row for row in mine if row.get("scratch") is not None], "scratch")),
            points(difference(mine, "generated", "scratch"), told=True),
            percent(mean(mine, "agnostic")),
            points(difference(mine, "generated", "agnostic")),
            percent(mean(mine, "agnostic_refit")),
            points(difference(mine, "generated", "agnostic_refit")),
            percent(mean(mine, "pruned")),
            percent(mean(mine, "uniform_refit")),
        ]
        lines.append(f"| {' | '.join(parts)} |")
    lines += ["", refusals(rows), "", chosen_by_classes(rows), ""]
    lines += ["## Gates of the right and of another task", "", *gates_table(rows), ""]
    lines += ["## Limits, foretelling, time", "", *other_figures(found), ""]
    return "\n".join(lines)


def refusals(rows: list[Row]) -> str:
    """Tell how many limits were refused, by budget."""
    budgets = sorted({row["budget"] for row in rows if not row["made"]}, key=str)
    told = []
    for budget in budgets:
        mine = [row["made"] for row in rows if row["budget"] == budget]
        name = budget if isinstance(budget, str) else f"{budget:.0%}"
        told.append(f"{mine.count(False)} of {len(mine)} at {name}")
    return f"Refused as out of reach: {', '.join(told) or 'none'}."


def chosen_by_classes(rows: list[Row]) -> str:
    """Tell how many models have other modules than those chosen without a task, and what these are worth."""
    made = [row for row in rows if "by_classes" in row]
    differing = [row["generated"] - row["agnostic_refit"] for row in made if row["by_classes"]]
    better, worse = (sum(sign * gain > 0 for gain in differing) for sign in (1, -1))
    return (
        f"{len(differing)} of {len(made)} models have modules chosen by their classes: {better} of them are better "
        f"and {worse} worse than modules chosen without a task, head refitted."
    )


def gates_table(rows: list[Row]) -> list[str]:
    """Return how much a task's own gates at full say of its classes are worth, by kind of class set and budget."""
    lines = [
        "| class sets | limit | right gates | wrong gates | right - wrong | overlap of all pairs "
        "| of pairs of one shape |",
        "|---|---|---|---|---|---|---|",
    ]
    for cluster in (True, False):
        alike = [
            row
            for row in rows
            if row["made"] and row["cluster"] == cluster and isinstance(row["budget"], float)
        ]
        small = [row for row in alike if len(row["classes"]) <= 5]
        for budget in sorted({row["budget"] for row in small}):
            mine = [row for row in small if row["budget"] == budget]
            parts = [
                "clusters of 2 to 5" if cluster else "random, 2 to 5",
                f"{budget:.0%}",
                percent(mean(mine, "right_gates")),
                percent(mean(mine, "wrong_gates")),
                points(difference(mine, "right_gates", "wrong_gates")),
                overlap(mine),
                overlap(mine, alike=True),
            ]
            lines.append(f"| {' | '.join(parts)} |")
    return lines


def overlap(rows: list[Row], *, alike: bool = False) -> str:
    """Return the mean Jaccard index of the gates over all pairs of rows, or over those that have one shape."""
    gates = [Gates(tuple(tuple(block) for block in row["gates"]), row.get("side")) for row in rows]
    pairs = [
        a.overlap(b)
        for a, b in combinations(gates, 2)
        if not alike or (a.counts, a.side) == (b.counts, b.side)
    ]
    return f"{statistics.mean(pairs):.2f}" if pairs else ""


def other_figures(found: dict[str, Any]) -> list[str]:
    """Return the figures that are no accuracy, a line each."""
    made = [row for row in found["rows"] if row["made"]]
    within = sum(row["measured_ms"] <= row["limit_ms"] for row in made)
    first = sum(row["measured_again_ms"][0] <= row["limit_ms"] for row in made)
    again = sum(min(row["measured_again_ms"]) <= row["limit_ms"] for row in made)
    took = np.array([row["took_s"] for row in made])
    errors = [abs(row["predicted_accuracy"] - row["generated"]) for row in made]
    told = [row["validation_accuracy"] - row["generated"] for row in made]
    bound = [row for row in found["bound"] if row["made"]]
    lines = [
        f"- within their limit: {within} of {len(made)} as delivered, {again} measured again at the end, "
        f"{first} of them the first time, the others within three times",
        f"- limits on file size or memory that bind: {sum(row['limits_met'] for row in bound)} "
        f"of {len(found['bound'])} met",
        f"- foretold accuracy: mean absolute error {100 * statistics.mean(errors):.2f} points on test images, "
        f"Kendall's tau {kendall([(row['predicted_accuracy'], row['generated']) for row in made]):.2f}"
        f"{by_chance(made)}",
        f"- accuracy told with a model, on validation images that it was chosen by: {100 * statistics.mean(told):+.2f} "
        f"points from that on test images on average, mean absolute error {100 * statistics.mean(map(abs, told)):.2f}",
        f"- foretold latency, memory, file size: mean errors {', '.join(errors_of_figures(made))}",
        f"- time of a model: p50 {np.percentile(took, 50):.2f} s, p95 {np.percentile(took, 95):.2f} s, "
        f"most {took.max():.2f} s",
        f"- without verification: p50 {statistics.median(found['unverified_s']):.3f} s",
    ]
    if others := found["other"]:
        lines.append(
            f"- `other`, 3 classes: AUROC {mean(others, 'auroc'):.3f}, "
            f"{percent(mean(others, 'false_positives_at_95'))} % false positives where 95 % of the classes' images pass"
        )
        if "predicted_accuracy" in others[0]:
            off = [abs(row["predicted_accuracy"] - row["accuracy"]) for row in others]
            lines.append(
                "- foretold accuracy with `other`, as many images of the others as of the classes: mean absolute "
                f"error {100 * statistics.mean(off):.2f} points"
            )
        if others[0].get("unseen"):
            lines.append(
                f"- `other` against images of {others[0]['unseen']}, never seen: "
                f"AUROC {mean(others, 'unseen_auroc'):.3f}, "
                f"{percent(mean(others, 'unseen_false_positives_at_95'))} % false positives"
            )
    lines += [
        f"- refined for {each['seconds']:g} s: {100 * each['gain']:+.2f} points on {len(each['rows'])} models"
        for each in found["refined"]
    ]
    return lines


def errors_of_figures(made: list[Row]) -> list[str]:
    """Return how far latency, memory and size are from what was foretold, on average, of those that were kept."""
    pairs = {
        "predicted_ms": "measured_ms",
        "predicted_memory_mb": "memory_mb",
        "predicted_size_mb": "size_mb",
    }
    return [
        f"{statistics.mean(abs(row[foretold] / row[found] - 1) for row in made):.1%}"
        for foretold, found in pairs.items()
        if foretold in made[0]
    ]


def by_chance(made: list[Row]) -> str:
    """Tell the error of a prediction that is always right, since accuracies are taken on few images."""
    counted = [(row["generated"], row["test_images"]) for row in made if "test_images" in row]
    if not counted:
        return ""
    errors = [math.sqrt(2 / math.pi * right * (1 - right) / images) for right, images in counted]
    return f"; so few test images make {100 * statistics.mean(errors):.2f} points of the best prediction"


def kendall(pairs: list[tuple[float, float]]) -> float:
    """Return Kendall's tau-a of pairs."""
    signs = [np.sign(a[0] - b[0]) * np.sign(a[1] - b[1]) for a, b in combinations(pairs, 2)]
    return float(np.mean(signs)) if signs else math.nan


def percent(value: float | None) -> str:
    """Return a share as a percentage, nothing where there is none."""
    return "" if value is None else f"{100 * value:.1f}"


def points(found: tuple[float, float, int] | None, *, told: bool = False) -> str:
    """Return a difference in points with its error, and of how many where ``told``."""
    if found is None:
        return ""
    value, error, number = found
    margin = "" if math.isnan(error) else f" ± {100 * error:.2f}"
    return f"{100 * value:+.2f}{margin}{f' ({number})' if told else ''}"


def with_scratch(budgets: list[list[Row]]) -> list[list[Row]]:
    """Return, of the rows at every budget, those of class sets with networks from scratch at all, if there are enough.

    Else all rows come back, without the accuracies of such networks.
    """
    sets = [{tuple(row["classes"]) for row in rows if row.get("scratch") is not None} for rows in budgets]
    common = set.intersection(*sets)
    if len(common) >= FEWEST_DRAWN:
        return [[row for row in rows if tuple(row["classes"]) in common] for rows in budgets]
    return [[row | {"scratch": None} for row in rows] for rows in budgets]


def draw_accuracy(found: dict[str, Any], path: Path) -> None:
    """Draw accuracy against measured latency, a panel for every count of classes.

    Where enough class sets have a network from scratch at every limit, all lines are means over those; else there is no
    line of these.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    grouped = cells(row for row in found["rows"] if isinstance(row["budget"], float))
    counts = sorted({count for count, _ in grouped})
    figure, axes = pyplot.subplots(1, len(counts), figsize=(3.4 * len(counts), 3.6), squeeze=False)
    dense = {tuple(row["classes"]): row["dense_refit"] for row in found["dense"]}
    lines = {
        "generated": "C0",
        "scratch": "C3",
        "agnostic": "C2",
        "agnostic_refit": "C8",
        "uniform_refit": "C7",
    }
    for axis, count in zip(axes[0], counts, strict=True):
        mine = with_scratch([rows for (n, _), rows in grouped.items() if n == count])
        for name, colour in lines.items():
            # Uniform networks need not exist at every limit.
            known = [
                [row for row in rows if row.get(name) is not None]
                for rows in mine
                if mean(rows, name) is not None
            ]
            if known:
                latency = [mean(rows, "measured_ms") for rows in known]
                accuracy = [100 * (mean(rows, name) or 0.0) for rows in known]
                # A broad line below the others, which often lie on it.
                width, size = (5.0, 7) if name == "generated" else (1.2, 3)
                shown = {"linewidth": width, "markersize": size, "alpha": 0.5 if name == "generated" else 1.0}
                axis.plot(latency, accuracy, "o-", color=colour, label=name.replace("_", ", "), **shown)
        level = statistics.mean(dense[tuple(row["classes"])] for rows in mine for row in rows)
        axis.axhline(100 * level, color="C1", linestyle=":", label="dense")
        axis.set_title(
            f"{count} classes, {len(mine[0])} {'set' if len(mine[0]) == 1 else 'sets'}", fontsize=9
        )
        axis.set_xlabel("measured latency, ms", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0][0].set_ylabel("accuracy on test images, %", fontsize=8)
    axes[0][0].legend(fontsize=7, loc="lower right")
    figure.suptitle(f"{found['supernet']}: accuracy against latency, means over class sets", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_overlap(found: dict[str, Any], path: Path) -> None:
    """Draw how much the gates of class sets overlap at the tightest limit that models keep to."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    made = [
        row
        for row in found["rows"]
        if row["made"] and isinstance(row["budget"], float) and len(row["classes"]) <= 5
    ]
    budget = min(row["budget"] for row in made)
    mine = sorted(
        (row for row in made if row["budget"] == budget), key=lambda row: (not row["cluster"], row["classes"])
    )
    gates = [Gates(tuple(tuple(block) for block in row["gates"])) for row in mine]
    matrix = np.array([[a.overlap(b) for b in gates] for a in gates])
    clusters = sum(row["cluster"] for row in mine)
    figure, axis = pyplot.subplots(figsize=(5.2, 4.6))
    shown = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
    figure.colorbar(shown, label="Jaccard index of the gates")
    axis.axhline(clusters - 0.5, color="white", linewidth=0.8)
    axis.axvline(clusters - 0.5, color="white", linewidth=0.8)
    axis.set_title(
        f"{found['supernet']}: gates at {budget:.0%} of the dense latency, class sets of 2 to 5\n"
        f"first {clusters} are clusters, mean over pairs {overlap(mine)}",
        fontsize=8,
    )
    axis.set_xlabel("class set", fontsize=8)
    axis.set_ylabel("class set", fontsize=8)
    axis.tick_params(labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
