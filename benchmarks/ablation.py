"""What each piece of the method is worth: models generated with it left out, at the same limits.

Pieces of serving are left out of a finished supernet. Pieces of training want one supernet each: with ``--train`` so
many epochs are made without each of them, in ``runs/ablation``, and with all of them; what is there is not trained
again. Writes ``<out>/ablation-<supernet>.json`` and a table beside it:
``python -m benchmarks.ablation --data cifar10 --supernet cifar10 [--train 8]``.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from assembler.measure import measure_model
from assembler.pieces import PUBLISHED, STANDING, TRAINING, Pieces
from benchmarks.machine import describe_machine
from benchmarks.quality import RESULTS, SEED, TRIES_AGAIN, Bench, open_bench, tell
from benchmarks.report import difference, percent, points
from benchmarks.scratch import augmentation_of
from benchmarks.shapes import asking, dense_ms
from benchmarks.tasks import class_sets
from service.zoo import shipped_zoo
from supernet.card import CARD_FILE, load_card
from supernet.data import load_data
from supernet.named import NAMED_FILE

BUDGETS = (0.1, 0.2, 0.4)
COUNTS = (3, 5)
WORK = Path("runs") / "ablation"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to generate models: with which pieces of serving, verified or not, out of which checkpoint."""

    name: str
    folder: Path
    pieces: Pieces = field(default_factory=Pieces)
    verify: bool = True


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", default="fashion")
    parser.add_argument("--sets", type=int, default=10, help="class sets of 3 and of 5 each")
    parser.add_argument("--train", type=float, metavar="EPOCHS", help="leave out pieces of training as well")
    parser.add_argument("--processes", type=int, default=2, help="that train")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shipped = shipped_zoo() / options.supernet
    variants = list(of_serving(shipped))
    if options.train:
        if load_card(shipped).training.backbone:
            parser.error("--train is for supernets that start from nothing")
        variants += of_training(shipped, options.data, options.train, options.processes)
    found = {
        "machine": describe_machine(),
        "supernet": options.supernet,
        "checkpoint": load_card(shipped).digest,
        "seed": SEED,
        "epochs_without_pieces": options.train,
        "rows": measured(variants, options.data, options.sets),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"ablation-{options.supernet}.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / f"ablation-{options.supernet}.md").write_text(table(found))
    print(table(found))


def of_serving(folder: Path) -> Iterator[Variant]:
    """Yield the ways to generate models out of a finished checkpoint, the whole one first."""
    yield Variant("whole", folder)
    yield Variant("without class term", folder, Pieces(weights=(0.0,)))
    yield Variant("without portfolio, full class term", folder, Pieces(weights=(1.0,)))
    yield Variant("without head refit", folder, Pieces(refit=False))
    yield Variant("without smaller sides", folder, Pieces(sides=False))
    yield Variant("unverified", folder, verify=False)
    yield Variant("unverified, without predictor", folder, Pieces(predictor=False), verify=False)


def of_training(shipped: Path, data: Path, epochs: float, processes: int) -> Iterator[Variant]:
    """Train as a shipped checkpoint was, but for so many epochs, with and without each piece; yield what came out.

    Raises:
        subprocess.CalledProcessError: a training run failed.
    """
    card = load_card(shipped)
    kind, sides = augmentation_of(card), card.architecture.sides
    for piece in ("", *(name for name in TRAINING if name not in PUBLISHED | STANDING)):
        out = WORK / f"{card.name}-{epochs:g}-{piece or 'whole'}"
        if not (out / CARD_FILE).exists():
            asked = ["train", "--data", data, "--out", out, "--work", out.with_suffix(".run")]
            asked += [
                "--epochs",
                epochs,
                "--processes",
                processes,
                "--shift-px",
                kind.shift_px,
                "--erase",
                kind.erase,
            ]
            asked += ["--flip"] * kind.flip + [text for side in sides for text in ("--sides", side)]
            asked += ["--without", piece] * bool(piece) + ["--no-store-images"] * (NAMED_FILE in card.files)
            command = [sys.executable, "-m", "service.cli", *(str(part) for part in asked)]
            tell(shlex.join(command))
            subprocess.run(command, check=True, stdout=sys.stderr)
        yield Variant(f"{epochs:g} epochs, {f'without {piece}' if piece else 'whole'}", out)


def measured(
    variants: list[Variant], data_path: Path, sets: int, budgets: tuple[float, ...] = BUDGETS
) -> list[dict[str, Any]]:
    """Return the mean accuracy of the models that every variant generates, by share of the dense net's latency.

    It is compared with the first variant's over the class sets that both have a model for.
    The class sets and the limits are those of the first variant.
    """
    data, chosen, limits = load_data(data_path), list[tuple[int, ...]](), {}
    rows: list[dict[str, Any]] = []
    whole: dict[float, dict[tuple[int, ...], float]] = {}
    for variant in variants:
        bench = open_bench(variant.folder, data, data_path.parent, pieces=variant.pieces)
        if not chosen:
            chosen = [classes for count in COUNTS for classes in class_sets(bench.closeness, count, sets)]
            limits = {budget: budget * dense_ms(bench.estimator, bench.profile) for budget in budgets}
        row: dict[str, Any] = {"variant": variant.name}
        for budget, limit in limits.items():
            models = generated(bench, chosen, limit, verify=variant.verify)
            first = whole.setdefault(
                budget, {classes: model["accuracy"] for classes, model in models.items()}
            )
            cell = [model | {"whole": first.get(classes)} for classes, model in models.items()]
            row[f"{budget:.0%}"] = summed_up(cell)
        rows.append(row)
        tell(json.dumps(row))
    return rows


def generated(
    bench: Bench, chosen: list[tuple[int, ...]], limit: float, *, verify: bool
) -> dict[tuple[int, ...], dict[str, Any]]:
    """Return accuracy, seconds and share of the limit of some class sets' models within a latency limit.

    Those that there are; nothing sees to it that models keep to their limit that are not verified.
    """
    found: dict[tuple[int, ...], dict[str, Any]] = {}
    for classes in chosen:
        names = [bench.data.classes[c] for c in classes]
        assembly, seconds = bench.generated(asking(names, limit, verify=verify))
        if assembly is not None:
            took = min(
                measure_model(assembly.content, bench.checkpoint.card.architecture.input).latency_ms
                for _ in range(TRIES_AGAIN)
            )
            accuracy = bench.tested(assembly.content, classes)
            found[classes] = {"accuracy": accuracy, "seconds": seconds, "share": took / limit}
    return found


def summed_up(models: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the models of a cell have in common: how many, means, and the difference from the whole method's.

    Args:
        models: accuracy, seconds, share of the limit that is used, and as ``whole`` the accuracy of the first
            variant's model, None where it has none.
    """
    found: dict[str, Any] = {"models": len(models), "accuracy": None}
    if models:
        found["accuracy"] = round(statistics.mean(model["accuracy"] for model in models), 4)
        found["median_s"] = round(statistics.median(model["seconds"] for model in models), 4)
        found["median_share"] = round(statistics.median(model["share"] for model in models), 4)
    compared = difference(models, "accuracy", "whole")
    if compared is not None and compared[2] > 1:
        found |= {"gain": round(compared[0], 4), "gain_error": round(compared[1], 4), "compared": compared[2]}
    return found


def table(found: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    shares = [f"{budget:.0%}" for budget in BUDGETS]
    lines = [
        f"# What pieces of the method are worth on `{found['supernet']}`",
        "",
        f"Measured by `python -m benchmarks.ablation --supernet {found['supernet']}` on {found['machine']['cpu']}. "
        "Mean accuracy on test images, %, of the same class sets of 3 and 5 at shares of the dense net's latency; "
        "below the first row the difference in points from it, over the class sets that both have a model for, with "
        "its standard error. Medians of the share of the limit that a model takes, and of the seconds it is made in.",
        "",
        f"| | {' | '.join(f'{share} | of the limit | s' for share in shares)} |",
        f"|---|{'---|---|---|' * len(shares)}",
    ]
    for number, row in enumerate(found["rows"]):
        cells = [told(row[share], first=number == 0) for share in shares]
        lines.append(f"| {row['variant']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def told(cell: dict[str, Any], *, first: bool) -> str:
    """Return three cells of the table: accuracy with its difference, share of the limit, and seconds."""
    if cell["accuracy"] is None:
        return "- | - | -"
    accuracy = percent(cell["accuracy"])
    if not first and "gain" in cell:
        accuracy += f" ({points((cell['gain'], cell['gain_error'], cell['compared']))})"
    return f"{accuracy} | {cell['median_share']:.2f} | {cell['median_s']:.2f}"


if __name__ == "__main__":
    main()
