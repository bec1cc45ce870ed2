"""Compare generated models with pruned networks that are fine-tuned, and with networks from scratch as briefly trained.

For class sets of 5 at one share of the dense net's latency, at the shape of the generated model: the modules of most
saliency for the class set, fine-tuned on all its training images for 1, 10 and 60 s of a core, and networks from
scratch that see as many images. Writes ``<out>/tuned-<supernet>.json`` and a table beside it:
``python -m benchmarks.tuned --data cifar10 --supernet cifar10``.
"""

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.quality import RESULTS, SEED, gates_of, open_bench, tell
from benchmarks.report import difference, mean, percent, points
from benchmarks.scratch import augmentation_of, fit, tested
from benchmarks.shapes import asking, dense_ms
from benchmarks.tasks import class_sets
from service.zoo import shipped_zoo
from supernet.augment import Augmentation
from supernet.checkpoint import load_checkpoint
from supernet.data import load_data
from supernet.gates import Gates
from supernet.model import Supernet

SECONDS = (1.0, 10.0, 60.0)
# Fine-tuning starts near a good place.
TUNING_RATE = 0.02


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", required=True)
    parser.add_argument("--budget", type=float, default=0.2, help="share of the dense net's latency")
    parser.add_argument("--sets", type=int, default=10, help="class sets of 5")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = shipped_zoo() / options.supernet
    data = load_data(options.data)
    bench = open_bench(folder, data, options.data.parent)
    card = bench.checkpoint.card
    limit, rows, plans = options.budget * dense_ms(bench.estimator, bench.profile), [], []
    for classes in class_sets(bench.closeness, 5, options.sets):
        assembly, seconds = bench.generated(asking([data.classes[c] for c in classes], limit))
        if assembly is None:
            continue
        gates = gates_of(assembly, card.architecture.input.height)
        pruned = bench.rivals.pruned(classes, gates)
        assert pruned is not None
        row = {"classes": classes, "counts": gates.counts, "side": gates.side, "took_s": round(seconds, 3)}
        rows.append(row | {"generated": round(bench.tested(assembly.content, classes), 4)})
        plans.append((options.data, folder, list(classes), pruned, gates, augmentation_of(card)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, torch.set_num_threads, (1,)) as pool:
        futures = {
            pool.submit(compared, *plan, seconds): row
            for seconds in reversed(SECONDS)
            for row, plan in zip(rows, plans, strict=True)
        }
        for number, future in enumerate(as_completed(futures), 1):
            futures[future].update(future.result())
            tell(f"{number} of {len(futures)} trained")
    found = {
        "machine": describe_machine(),
        "supernet": options.supernet,
        "checkpoint": card.digest,
        "seed": SEED,
        "budget": options.budget,
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"tuned-{options.supernet}.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / f"tuned-{options.supernet}.md").write_text(table(found))
    print(table(found))


def compared(
    data_path: Path,
    folder: Path,
    classes: list[int],
    pruned: Gates,
    shape: Gates,
    kind: Augmentation,
    seconds: float,
) -> dict[str, float]:
    """Return the accuracies of a pruned network that is fine-tuned, and of one from scratch that sees as many images.

    Args:
        data_path: of the data set.
        folder: of the checkpoint that the pruned network is part of.
        classes: of the class set.
        pruned: modules of the pruned network.
        shape: of the network from scratch.
        kind: of augmentation.
        seconds: of a core, for the fine-tuning.
    """
    checkpoint, data = load_checkpoint(folder, datasets=data_path.parent), load_data(data_path)
    train, test = data.train.of_classes(classes), data.test.of_classes(classes)
    torch.manual_seed(SEED)
    tuned, fresh = (
        Supernet(checkpoint.card.architecture, len(classes)).to(memory_format=torch.channels_last)
        for _ in range(2)
    )
    weights = checkpoint.supernet.state_dict()
    heads = {name: tensor[classes] for name, tensor in weights.items() if name.startswith("head.")}
    tuned.load_state_dict(weights | heads)
    began = time.process_time()
    steps = fit(
        tuned, pruned, train, kind, lambda step: (time.process_time() - began) / seconds, rate=TUNING_RATE
    )
    fit(fresh, shape, train, kind, lambda step: step / steps)
    return {
        f"tuned_{seconds:g}_s": round(tested(tuned, pruned, train, test), 4),
        f"scratch_{seconds:g}_s": round(tested(fresh, shape, train, test), 4),
        f"steps_{seconds:g}_s": steps,
    }


def table(found: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    rows, name = found["rows"], found["supernet"]
    took = mean(rows, "took_s")
    lines = [
        f"# `{name}`: generated, pruned and fine-tuned, briefly trained",
        "",
        f"Measured by `python -m benchmarks.tuned --supernet {name}` on {found['machine']['cpu']}, {len(rows)} class "
        f"sets of 5 at {found['budget']:.0%} of the dense net's latency. Generated models have "
        f"{percent(mean(rows, 'generated'))} % of the test images right, made in {took:.2f} s on average. Others "
        "that are foretold to take as long, %, and points that generated models are ahead of them, with their error:",
        "",
        "| seconds of a core | steps of 128 images | pruned, fine-tuned | generated - that | from scratch, as many "
        "images | generated - that |",
        "|---|---|---|---|---|---|",
    ]
    for seconds in SECONDS:
        tuned, fresh, steps = (f"{what}_{seconds:g}_s" for what in ("tuned", "scratch", "steps"))
        parts = [
            f"{seconds:g}",
            f"{mean(rows, steps):.0f}",
            percent(mean(rows, tuned)),
            points(difference(rows, "generated", tuned)),
            percent(mean(rows, fresh)),
            points(difference(rows, "generated", fresh)),
        ]
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
