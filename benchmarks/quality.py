"""Compare models that are generated with models that are trained, and with other ways to cut them out.

Class sets of 2, 3, 5, 8 and all classes, half of them clusters of similar ones, those of up to 5 never seen in
training; limits at shares of the dense net's latency. Where a network from scratch is planned for a class set and a
budget (``scratch.py``), the limit is the measured latency of its shape and the reserve that models are cut with, so
that a model of just that latency keeps to it; networks whose budget is a name are compared beside the shares, on class
sets that training may have seen; those with ``mmac`` alone are of another design, for whose latency that of this one's
shape of as many multiply-accumulates stands, or a ``share`` of it. Prints JSON and writes it to
``<out>/quality-<supernet>.json``;
``report.py`` makes tables and pictures of it:
``python -m benchmarks.quality --data cifar10 --supernet cifar10 [--out benchmarks/results]``.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assembler.artifact import Assembly
from assembler.assemble import assemble
from assembler.device import Profile
from assembler.errors import Infeasible
from assembler.measure import ensure_profile, measure_model
from assembler.neighbours import neighbours
from assembler.pieces import Pieces
from assembler.propose import Estimator, least_cost
from assembler.scenario import Scenario
from assembler.session import single_threaded
from assembler.timing import RESERVE
from benchmarks.machine import describe_machine
from benchmarks.report import report
from benchmarks.rivals import Rivals
from benchmarks.scratch import FOLDER
from benchmarks.shapes import asking, dense_ms, measured_ms, shape_of_macs
from benchmarks.tasks import COUNTS, class_sets, elsewhere, is_cluster
from service.zoo import shipped_zoo
from supernet.checkpoint import load_checkpoint
from supernet.data import DataSet, load_data
from supernet.gates import Gates, prefix_gates
from supernet.train import Recipe

BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.4)
BOUND_SETS = 20
OTHER_SETS = 20
NEIGHBOUR_IMAGES = 40
# Other programs only ever add time: every model is measured again so often, and its lowest figure counts.
TRIES_AGAIN = 3
RESULTS = Path(__file__).parent / "results"
SEED = Recipe().seed


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--supernet", default="fashion")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--sets", type=int, default=20, help="class sets of each size")
    parser.add_argument(
        "--unseen", type=Path, help="data set of none of the classes, images of the same size"
    )
    parser.add_argument(
        "--refine", type=float, nargs="*", default=[], help="seconds to refine models of 5 classes"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = FOLDER / f"{options.supernet}.json"
    yardstick = json.loads(path.read_text()) if path.exists() else {"recipe": None, "networks": []}
    folder = shipped_zoo() / options.supernet
    bench = open_bench(folder, load_data(options.data), options.data.parent, networks=yardstick["networks"])
    rows = bench.run(options.sets)
    found = {
        "machine": describe_machine(),
        "supernet": options.supernet,
        "checkpoint": bench.checkpoint.card.digest,
        "seed": SEED,
        "recipe_from_scratch": yardstick["recipe"],
        "dense_ms": round(dense_ms(bench.estimator, bench.profile), 4),
        "rows": rows,
        "dense": bench.dense(options.sets),
        "bound": bench.bound(BOUND_SETS),
        "other": bench.other(OTHER_SETS, load_data(options.unseen) if options.unseen else None),
        "unverified_s": bench.unverified(),
        "refined": [bench.refined(seconds) for seconds in options.refine],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(found, indent=1)
    (options.out / f"quality-{options.supernet}.json").write_text(content + "\n")
    print(content)
    report(found, options.out)


def tell(what: str) -> None:
    """Say on stderr how far the benchmark is."""
    print(what, file=sys.stderr, flush=True)


class Bench:
    """All comparisons of one checkpoint on this machine."""

    def __init__(self, rivals: Rivals, networks: Sequence[dict[str, Any]]) -> None:
        self.rivals = rivals
        self.data, self.estimator, self.profile = rivals.data, rivals.estimator, rivals.profile
        self.checkpoint = rivals.checkpoint
        self.networks = networks
        self.shapes: dict[float, Gates] = {}
        self.everything = tuple(range(len(self.data.classes)))
        calibration = self.checkpoint.calibration.balanced(NEIGHBOUR_IMAGES, SEED)
        self.closeness = neighbours(
            self.checkpoint.supernet, self.data.groups, calibration, self.checkpoint.validation
        )

    def run(self, number: int) -> list[dict[str, Any]]:
        """Compare at every class set and budget; measure every model again when all are made."""
        rows: list[dict[str, Any]] = []
        contents: list[bytes] = []
        planned = {(tuple(row["classes"]), row["budget"]): row for row in self.networks}
        for count in (*COUNTS, len(self.data.classes)):
            sets = class_sets(self.closeness, count, number)
            for index, classes in enumerate(sets):
                cells = [(budget, planned.get((classes, budget))) for budget in BUDGETS]
                for budget, network in cells:
                    wrong = elsewhere(sets, index)
                    row, content = self.compared(classes, is_cluster(index), budget, network, wrong)
                    rows.append(row)
                    contents.append(content)
                tell(f"{count} classes: {index + 1} of {len(sets)}")
        for network in self.networks:
            if isinstance(network["budget"], str):
                classes = tuple(network["classes"])
                row, content = self.compared(classes, False, network["budget"], network, classes)
                rows.append(row)
                contents.append(content)
        image = self.checkpoint.card.architecture.input
        for _ in range(TRIES_AGAIN):
            for row, content in zip(rows, contents, strict=True):
                tries = row.setdefault("measured_again_ms", [])
                if row["made"]:
                    again = measure_model(content, image, threads=self.profile.threads).latency_ms
                    tries.append(round(again, 4))
        return rows

    def dense(self, number: int) -> list[dict[str, Any]]:
        """Return the accuracy of the dense net on every class set."""
        counts = (*COUNTS, len(self.data.classes))
        sets = [classes for count in counts for classes in class_sets(self.closeness, count, number)]
        return [{"classes": classes, **self.rivals.dense(classes)} for classes in sets]

    def compared(
        self,
        classes: tuple[int, ...],
        cluster: bool,
        budget: float | str,
        network: dict[str, Any] | None,
        wrong: tuple[int, ...],
    ) -> tuple[dict[str, Any], bytes]:
        """Generate one model and score its rivals; return its row and its file."""
        row: dict[str, Any] = {"classes": classes, "cluster": cluster, "budget": budget}
        if network is None:
            assert isinstance(budget, float)
            limit = budget * dense_ms(self.estimator, self.profile)
        else:
            if "mmac" in network:
                shape = self.shape_of(network["mmac"])
            else:
                shape = prefix_gates(tuple(network["counts"]), network.get("side"))
            took = measured_ms(shape, self.estimator, self.profile, len(classes)) * network.get("share", 1.0)
            limit = took / RESERVE
            row |= {
                "scratch": network["accuracy"],
                "scratch_counts": shape.counts,
                "scratch_ms": round(took, 4),
            }
        row["limit_ms"] = round(limit, 4)
        assembly, seconds = self.generated(asking(self._names(classes), limit))
        if assembly is None:
            return {**row, "made": False}, b""
        assert assembly.measured is not None
        gates = gates_of(assembly, self.checkpoint.card.architecture.input.height)
        row |= {
            "made": True,
            "took_s": round(seconds, 3),
            "counts": gates.counts,
            "side": gates.side,
            "predicted_ms": round(assembly.predicted.latency_ms, 4),
            "measured_ms": round(assembly.measured.latency_ms, 4),
            "predicted_memory_mb": round(assembly.predicted.memory_mb, 3),
            "memory_mb": round(assembly.measured.memory_mb, 3),
            "predicted_size_mb": round(assembly.predicted.size_mb, 4),
            "size_mb": round(assembly.measured.size_mb, 4),
            "predicted_accuracy": round(assembly.predicted.accuracy, 4),
            "validation_accuracy": round(assembly.measured.accuracy, 4),
            "generated": round(self.tested(assembly.content, classes), 4),
            "test_images": len(self.rivals.test_images(classes)),
            "gates": self.rivals.gates_for(classes, 1.0, gates).active,
            "by_classes": gates != self.rivals.gates_for(self.everything, 0.0, gates),
        }
        return row | self.rivals.at(classes, gates, wrong), assembly.content

    def shape_of(self, mmac: float) -> Gates:
        """Return the largest shape of no more than so many million multiply-accumulates."""
        if mmac not in self.shapes:
            self.shapes[mmac] = shape_of_macs(self.estimator, self.profile, 1e6 * mmac)
        return self.shapes[mmac]

    def generated(self, scenario: Scenario) -> tuple[Assembly | None, float]:
        """Return the Assembly of a scenario, None where it ends infeasible, and the seconds it took."""
        began = time.perf_counter()
        try:
            *_, assembly = assemble(scenario, self.checkpoint, self.estimator, self.profile)
        except Infeasible:
            return None, time.perf_counter() - began
        assert isinstance(assembly, Assembly)
        return assembly, time.perf_counter() - began

    def scores(self, content: bytes, images: np.ndarray) -> np.ndarray:
        """Return what a model file says of images, N x outputs."""
        found: np.ndarray = single_threaded(content).run(None, {"image": images.astype(np.float32)})[0]
        return found

    def tested(self, content: bytes, classes: tuple[int, ...]) -> float:
        """Return the accuracy of a model file on the test images of its classes."""
        mine = self.rivals.test_images(classes)
        return float((self.scores(content, mine.images).argmax(axis=1) == mine.labels).mean())

    def bound(self, number: int) -> list[dict[str, Any]]:
        """Generate models whose memory or file size binds as well; return what was asked for and measured."""
        rows = []
        for index, classes in enumerate(class_sets(self.closeness, 5, number)):
            name = ("size_mb", "memory_mb")[index % 2]
            names = self._names(classes)
            latency = 0.4 * dense_ms(self.estimator, self.profile)
            free, _ = self.generated(asking(names, latency))
            least = least_cost(asking(names, latency), self.checkpoint.card, self.profile)
            if free is None or free.measured is None:
                continue
            limit = (getattr(least, name) + getattr(free.measured, name)) / 2
            limits = {"latency_ms": latency, name: limit}
            assembly, _ = self.generated(asking(names, latency, limits=limits))
            row = {"classes": classes, "limit": name, "requested": limits, "made": assembly is not None}
            if assembly is not None and assembly.measured is not None:
                measured = assembly.measured.model_dump(include={"latency_ms", "memory_mb", "size_mb"})
                accuracy = self.tested(assembly.content, classes)
                row |= {
                    "measured": measured,
                    "limits_met": assembly.limits_met,
                    "accuracy": round(accuracy, 4),
                }
            rows.append(row)
        return rows

    def other(self, number: int, unseen: DataSet | None) -> list[dict[str, Any]]:
        """Generate models with an output for none of their classes; return accuracy, AUROC and false positives."""
        rows = []
        for classes in class_sets(self.closeness, min(3, len(self.data.classes) - 1), number):
            scenario = asking(self._names(classes), 0.3 * dense_ms(self.estimator, self.profile))
            wanted = scenario.model_copy(update={"task": scenario.task.model_copy(update={"other": True})})
            assembly, _ = self.generated(wanted)
            if assembly is None:
                continue
            rest = [c for c in range(len(self.data.classes)) if c not in classes]
            mine, others = self.rivals.test_images(classes), self.data.test.of_classes(rest)
            none_of_them = [self.scores(assembly.content, split.images)[:, -1] for split in (mine, others)]
            right = self.scores(assembly.content, mine.images).argmax(axis=1) == mine.labels
            rejected = self.scores(assembly.content, others.images).argmax(axis=1) == len(classes)
            strict = float(np.quantile(none_of_them[0], 0.95))
            row = {
                "classes": classes,
                "accuracy_of_classes": round(float(right.mean()), 4),
                "rejected_of_others": round(float(rejected.mean()), 4),
                "accuracy": round(float(right.mean() + rejected.mean()) / 2, 4),
                "predicted_accuracy": round(assembly.predicted.accuracy, 4),
                "auroc": round(auroc(none_of_them[1], none_of_them[0]), 4),
                "false_positives_at_95": round(float((none_of_them[1] <= strict).mean()), 4),
            }
            if unseen is not None:
                strange = self.scores(assembly.content, unseen.test.images)[:, -1]
                row |= {
                    "unseen": unseen.name,
                    "unseen_auroc": round(auroc(strange, none_of_them[0]), 4),
                    "unseen_false_positives_at_95": round(float((strange <= strict).mean()), 4),
                }
            rows.append(row)
        return rows

    def unverified(self, number: int = 20) -> list[float]:
        """Return the seconds that models without verification take."""
        latency = 0.3 * dense_ms(self.estimator, self.profile)
        sets = class_sets(self.closeness, 5, number)
        return [round(self.generated(asking(self._names(c), latency, verify=False))[1], 4) for c in sets]

    def refined(self, seconds: float, number: int = 6) -> dict[str, Any]:
        """Return what refining gains, on models of 5 classes at a fifth of the dense latency."""
        latency, rows = 0.2 * dense_ms(self.estimator, self.profile), []
        for classes in class_sets(self.closeness, 5, number):
            plain, _ = self.generated(asking(self._names(classes), latency))
            more, _ = self.generated(asking(self._names(classes), latency, refine={"seconds": seconds}))
            if plain is not None and more is not None:
                accuracies = {
                    "plain": self.tested(plain.content, classes),
                    "refined": self.tested(more.content, classes),
                }
                rows.append({"classes": classes, **{k: round(v, 4) for k, v in accuracies.items()}})
        gain = statistics.mean(row["refined"] - row["plain"] for row in rows)
        return {"seconds": seconds, "gain": round(gain, 4), "rows": rows}

    def _names(self, classes: tuple[int, ...]) -> list[str]:
        return [self.data.classes[c] for c in classes]


def open_bench(
    folder: Path,
    data: DataSet,
    datasets: Path,
    *,
    networks: Sequence[dict[str, Any]] = (),
    pieces: Pieces = Pieces(),
) -> Bench:
    """Load a checkpoint, measure this machine for it, and return the comparisons.

    Args:
        folder: of the checkpoint.
        data: what it was trained on.
        datasets: folder of the data sets at hand.
        networks: from scratch, as a yardstick lists them.
        pieces: of serving.
    """
    checkpoint = load_checkpoint(folder, datasets=datasets)
    estimator = Estimator(folder, checkpoint.card, pieces)
    with tempfile.TemporaryDirectory() as kept:
        *_, profile = ensure_profile(checkpoint.card, Path(kept))
    assert isinstance(profile, Profile)
    return Bench(Rivals(checkpoint, estimator, profile, data), networks)


def gates_of(assembly: Assembly, height: int) -> Gates:
    """Return the gates that a manifest tells of."""
    told = assembly.manifest["supernet"]
    side = None if told["side_px"] == height else told["side_px"]
    return Gates(tuple(tuple(block) for block in told["modules_on"]), side)


def auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Return how often a positive's score is above a negative's, equal ones counting half."""
    every = np.concatenate([positives, negatives])
    _, places, counts = np.unique(every, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[places][: len(positives)]
    n, m = len(positives), len(negatives)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


if __name__ == "__main__":
    main()
