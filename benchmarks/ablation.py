"""What each piece of serving is worth: models generated with it left out, at the same limits. Prints JSON.

Pieces of training are left out by ``nnfactory train --without``; such a checkpoint is measured by ``--folder``:
``python -m benchmarks.ablation --data fashion_mnist.npz [--supernet fashion] [--folder runs/without-tasks]``.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from assembler.device import Profile
from assembler.measure import ensure_profile
from assembler.pieces import Pieces
from assembler.propose import Estimator
from benchmarks.machine import describe_machine
from benchmarks.quality import Bench
from benchmarks.rivals import Rivals
from benchmarks.shapes import asking, dense_ms
from benchmarks.tasks import class_sets
from service.zoo import shipped_zoo
from supernet.checkpoint import load_checkpoint
from supernet.data import load_data

BUDGETS = (0.1, 0.2, 0.4)
VARIANTS = {
    "whole": Pieces(),
    "without class term": Pieces(weights=(0.0,)),
    "without portfolio, full class term": Pieces(weights=(1.0,)),
    "without head refit": Pieces(refit=False),
    "without smaller sides": Pieces(sides=False),
}


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", default="fashion")
    parser.add_argument("--folder", type=Path, help="a checkpoint elsewhere")
    parser.add_argument("--sets", type=int, default=10, help="class sets of 3 and of 5 each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder or shipped_zoo() / options.supernet
    checkpoint, data = load_checkpoint(folder, datasets=options.data.parent), load_data(options.data)
    with tempfile.TemporaryDirectory() as kept:
        *_, profile = ensure_profile(checkpoint.card, Path(kept))
    assert isinstance(profile, Profile)
    found: dict[str, Any] = {}
    for name, pieces in VARIANTS.items():
        estimator = Estimator(folder, checkpoint.card, pieces)
        bench = Bench(Rivals(checkpoint, estimator, profile, data), [])
        found[name] = {}
        for budget in BUDGETS:
            limit = budget * dense_ms(estimator, profile)
            accuracies = []
            for classes in (c for count in (3, 5) for c in class_sets(bench.closeness, count, options.sets)):
                assembly, _ = bench.generated(asking([data.classes[c] for c in classes], limit))
                if assembly is not None:
                    accuracies.append(bench.tested(assembly.content, classes))
            if accuracies:
                found[name][f"{budget:.0%}"] = {
                    "models": len(accuracies),
                    "accuracy": round(statistics.mean(accuracies), 4),
                }
    report = {
        "machine": describe_machine(),
        "checkpoint": checkpoint.card.digest,
        "name": folder.name,
        "found": found,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
