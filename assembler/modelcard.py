"""Model card: what people should know of a model, in Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from assembler.artifact import Assembly, LimitCheck
from supernet.card import Card

LIMITS = {
    "latency_ms": "Latency of one image, ms",
    "memory_mb": "Memory at its peak, MB",
    "size_mb": "Size of the model file, MB",
    "accuracy": "Accuracy, 0..1",
}
# What Markdown or the HTML in it would take for markup.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|&~$])")


def model_card(assembly: Assembly, card: Card) -> str:
    """Return the model card of a model.

    Args:
        assembly: the finished model.
        card: of the supernet that it was cut out of.
    """
    manifest, outputs = assembly.manifest, assembly.manifest["classes"]
    parts = [
        f"# Image classifier: {_listed(outputs)}",
        "Cut out of a trained supernet by NN-Factory; it was not trained on its own."
        if not manifest.get("refined", {}).get("kept")
        else "Cut out of a trained supernet by NN-Factory, and trained further for its task.",
        "## Task",
        f"Says which of {len(outputs)} classes an image shows. Output `{manifest['output']['name']}` holds a "
        "probability a class, in this order:",
        "\n".join(f"{place}. {_plain(name)}" for place, name in enumerate(outputs)),
        "## Input",
        _table(("", ""), _input_rows(manifest["input"])),
        "## Limits and figures",
        _table(("", "Limit", "Predicted", "Measured", "Met"), _figure_rows(assembly)),
        _said_of_figures(assembly, card),
        "## Where it comes from",
        _table(("", ""), _source_rows(manifest, card)),
        "## Use",
        "```sh\npython infer.py image.png\npython infer.py --selftest\npython infer.py --bench\n```",
        "`infer.py` needs onnxruntime and numpy. The selftest compares `golden_output.npy` with what the model says of "
        "`golden_input.npy`, made patterns that show nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _input_rows(told: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    shape = " x ".join(str(size) for size in told["shape"])
    yield "Name", told["name"]
    yield "Shape", f"{shape}, {told['layout']}, {told['dtype']}"
    yield "Colours", told["color"]
    yield "Pixels", f"{told['range']}; normalisation is in the graph"
    yield "Resize", told["resize"]


def _figure_rows(assembly: Assembly) -> Iterable[tuple[str, ...]]:
    checks = {check.limit.removesuffix("_min"): check for check in assembly.limits_check}
    for name, title in LIMITS.items():
        check = checks.get(name)
        figure = None if assembly.measured is None else getattr(assembly.measured, name)
        measured = "-" if figure is None else f"{figure:.4g}"
        met = "-" if check is None else "yes" if check.met else "**no**"
        yield title, _bound(check), f"{getattr(assembly.predicted, name):.4g}", measured, met


def _bound(check: LimitCheck | None) -> str:
    if check is None:
        return "-"
    return f"at {'least' if check.limit == 'accuracy_min' else 'most'} {check.requested:g}"


def _said_of_figures(assembly: Assembly, card: Card) -> str:
    device = _plain(assembly.manifest["device"]["name"])
    foretold = f"Predicted accuracy is off by {100 * card.figures.predictor_error:.1f} points on average."
    if assembly.measured is None:
        return f"Figures are for device {device}; nothing was measured. {foretold}"
    measured = assembly.measured
    if measured.latency_ms is None:
        return (
            f"Latency and memory are foretold by the profile of device {device}, where the model was not run; "
            f"accuracy is on {measured.samples} validation images of the supernet's data; other images may be harder. "
            f"{foretold}"
        )
    return (
        f"Measured on device {device}: latency is the {measured.latency_percentile}th percentile of undisturbed runs, "
        f"accuracy is on {measured.samples} validation images of the supernet's data; other images may be harder. "
        f"{foretold}"
    )


def _source_rows(manifest: dict[str, Any], card: Card) -> Iterable[tuple[str, ...]]:
    yield "Supernet", card.name
    yield "Supernet's digest", f"sha256:{card.digest}"
    yield "Data", card.data.name
    yield "Licence of the data", card.data.licence
    yield "Credit", card.data.credit or "-"
    yield "Image side in the graph", f"{manifest['supernet']['side_px']} px"
    yield "Model file", f"sha256:{manifest['artifact']['sha256']}"
    yield "Made with", ", ".join(f"{name} {version}" for name, version in manifest["toolchain"].items())


def _table(head: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; "**no**" alone is markup in it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell if cell == "**no**" else _plain(cell) for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *(line(row) for row in rows)])


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(_plain(name) for name in names[:most]) + more


def _plain(text: str) -> str:
    """Return text in one line that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
