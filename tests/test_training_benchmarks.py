"""Benchmarks that train: networks from scratch, pruned ones that are fine-tuned, methods with a piece left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assembler.cost import macs
from assembler.nominal import nominal_profile
from assembler.pieces import Pieces
from assembler.propose import Estimator
from benchmarks import scratch
from benchmarks.ablation import BUDGETS, Variant, measured, of_serving, summed_up
from benchmarks.ablation import table as ablation_table
from benchmarks.report import chosen_by_classes, overlap, refusals, with_scratch
from benchmarks.scratch import augmentation_of, fit, write
from benchmarks.shapes import shape_of_macs
from benchmarks.tuned import SECONDS, compared
from benchmarks.tuned import table as tuned_table
from service.zoo import shipped_zoo
from supernet.augment import Augmentation
from supernet.card import load_card
from supernet.gates import full_gates, prefix_gates
from supernet.model import Supernet
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_images, small_supernet

PLAIN = Augmentation(shift_px=1, flip=False, erase=0.0)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of stripes."""
    path: Path = tmp_path_factory.mktemp("data") / "stripes.npz"
    arrays = {}
    for name, images in (
        ("train", small_images(60, 1)),
        ("val", small_images(20, 2)),
        ("test", small_images(20, 3)),
    ):
        arrays |= {f"x_{name}": images.images[:, 0], f"y_{name}": images.labels}
    np.savez(path, classes=np.array(CLASSES), **arrays)
    return path


def test_a_network_from_scratch_learns_its_classes_alone() -> None:
    train, test = (small_images(60, seed).of_classes([0, 1, 4]) for seed in (1, 3))
    network, shape = Supernet(SMALL, 3), prefix_gates((2, 2, 2))
    before = scratch.tested(network, shape, train, test)
    assert fit(network, shape, train, PLAIN, lambda step: step / 80) == 80
    assert scratch.tested(network, shape, train, test) > max(before, 0.8)


def test_images_are_changed_as_in_the_training_of_the_supernet(tmp_path: Path) -> None:
    known = {name: augmentation_of(load_card(shipped_zoo() / name)) for name in ("cifar10", "fashion")}
    assert known == {"cifar10": Augmentation(4, True, 0.25), "fashion": Augmentation(2, True, 0.25)}
    with pytest.raises(ValueError, match="nothing says how the images of small"):
        augmentation_of(small_checkpoint(tmp_path / "small", small_supernet()))


def test_training_ends_when_it_is_told_to() -> None:
    network, train = Supernet(SMALL, 6), small_images(10, 1)
    assert fit(network, full_gates(SMALL), train, PLAIN, lambda step: 1.0) == 0


def test_a_plan_is_written_a_network_a_line(tmp_path: Path) -> None:
    plan = {"recipe": {"epochs": 2}, "networks": [{"classes": [0, 1], "accuracy": None}] * 3}
    write(tmp_path / "plan.json", plan)
    text = (tmp_path / "plan.json").read_text()
    assert json.loads(text) == plan
    assert sum("classes" in line for line in text.splitlines()) == 3


def test_a_pruned_network_starts_with_the_supernets_weights_and_one_from_scratch_sees_as_many_images(
    stripes: Path, tmp_path: Path
) -> None:
    small_checkpoint(tmp_path / "small", small_supernet())
    shape = prefix_gates((2, 2, 2))
    found = compared(stripes, tmp_path / "small", [0, 3, 5], shape, shape, PLAIN, 2.0)
    assert set(found) == {"tuned_2_s", "scratch_2_s", "steps_2_s"}
    assert found["steps_2_s"] >= 3
    assert found["tuned_2_s"] > 0.5


def test_the_table_of_brief_training_has_means_and_differences() -> None:
    row: dict[str, Any] = {"took_s": 0.5, "generated": 0.9}
    for seconds in SECONDS:
        row |= {
            f"tuned_{seconds:g}_s": 0.85,
            f"scratch_{seconds:g}_s": 0.6,
            f"steps_{seconds:g}_s": 40 * seconds,
        }
    found = {"supernet": "toys", "machine": {"cpu": "a cpu"}, "budget": 0.2}
    told = tuned_table({**found, "rows": [row, {**row, "generated": 0.8, "took_s": 0.7}]})
    assert "have 85.0 % of the test images right, made in 0.60 s" in told
    assert "| 10 | 400 | 85.0 | +0.00 ± 5.00 | 60.0 | +25.00 ± 5.00 |" in told


def test_models_are_generated_without_each_piece_at_the_same_limits(stripes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    variants = [Variant("whole", folder), Variant("without head refit", folder, Pieces(refit=False))]
    rows = measured(variants, stripes, 1, (*BUDGETS, 1.5))
    assert [row["variant"] for row in rows] == ["whole", "without head refit"]
    whole, unfitted = (row["150%"] for row in rows)
    assert whole["models"] == unfitted["models"] == 2
    # Its weights are random: a head that is not fitted knows nothing.
    assert whole["accuracy"] > unfitted["accuracy"] + 0.1
    assert unfitted["compared"] == 2
    assert unfitted["gain"] == pytest.approx(unfitted["accuracy"] - whole["accuracy"], abs=2e-4)
    assert whole["gain"] == whole["gain_error"] == 0.0
    assert min(whole["median_s"], unfitted["median_s"]) > 0.0
    assert 0.0 < whole["median_share"] < 1.5


def test_a_piece_is_compared_over_the_class_sets_that_both_have_a_model_for() -> None:
    models = [(0.9, 0.8, 0.3, 1.1), (0.7, 0.8, 0.1, 0.9), (0.5, None, 0.4, 0.9), (0.9, 0.6, 0.5, 0.9)]
    names = ("accuracy", "whole", "seconds", "share")
    cell = summed_up([dict(zip(names, model, strict=True)) for model in models])
    assert cell == {
        "models": 4,
        "accuracy": 0.75,
        "median_s": 0.35,
        "median_share": 0.9,
        "gain": 0.1,
        "gain_error": pytest.approx(0.2 / 3**0.5, abs=1e-4),
        "compared": 3,
    }
    none = summed_up([])
    assert none == {"models": 0, "accuracy": None}
    rows = [{"variant": name, "10%": none, "20%": cell, "40%": cell} for name in ("whole", "without a piece")]
    told = ablation_table({"supernet": "small", "machine": {"cpu": "a cpu"}, "rows": rows})
    assert "| whole | - | - | - | 75.0 | 0.90 | 0.35 | 75.0 | 0.90 | 0.35 |" in told
    assert "| without a piece | - | - | - | 75.0 (+10.00 ± 11.55) | 0.90 | 0.35 | " in told


def test_every_piece_of_serving_has_a_variant_without_it() -> None:
    variants = list(of_serving(Path("zoo")))
    assert variants[0] == Variant("whole", Path("zoo"))
    for name in Pieces.__slots__:
        assert any(getattr(one.pieces, name) != getattr(Pieces(), name) for one in variants), name
    assert len({one.name for one in variants}) == len(variants)


def test_the_shape_of_so_many_multiply_accumulates_is_the_largest_there_is(tmp_path: Path) -> None:
    card, profile = small_checkpoint(tmp_path, small_supernet()), nominal_profile(SMALL)
    estimator = Estimator(tmp_path, card)
    dense = macs(SMALL, full_gates(SMALL).counts, 1)
    assert shape_of_macs(estimator, profile, dense) == full_gates(SMALL)
    assert shape_of_macs(estimator, profile, 1) == prefix_gates((0, 0, 0))
    found = macs(SMALL, shape_of_macs(estimator, profile, 0.6 * dense).counts, 1)
    assert 0.3 * dense < found <= 0.6 * dense


def test_a_report_tells_what_was_refused_and_what_the_classes_chose() -> None:
    rows = [{"budget": 0.05, "made": False}] * 2 + [
        {"budget": 0.1, "made": True},
        {"budget": 0.1, "made": False},
    ]
    assert refusals(rows) == "Refused as out of reach: 2 of 2 at 5%, 1 of 2 at 10%."
    assert refusals(rows[2:3]) == "Refused as out of reach: none."
    chosen = [
        {"by_classes": True, "generated": 0.9 + gain, "agnostic_refit": 0.9} for gain in (0.1, -0.1, -0.2, 0)
    ]
    same = [{"by_classes": False, "generated": 0.9, "agnostic_refit": 0.8}]
    assert chosen_by_classes(chosen + same).startswith(
        "4 of 5 models have modules chosen by their classes: 1 of them"
    )
    assert "and 2 worse" in chosen_by_classes(chosen + same)


def test_overlap_is_taken_over_all_pairs_or_those_of_one_shape() -> None:
    rows = [{"gates": [[0], [1]]}, {"gates": [[0], [2]]}, {"gates": [[0, 1], []], "side": 24}]
    assert overlap(rows) == f"{(1 / 3 + 1 / 3 + 1 / 3) / 3:.2f}"
    assert overlap([*rows, {"gates": [[0], [1]]}], alike=True) == f"{(1 / 3 + 1 / 3 + 1) / 3:.2f}"
    assert overlap([{"gates": [[0]]}, {"gates": [[0]], "side": 24}], alike=True) == ""


def test_lines_are_means_over_class_sets_that_all_have_networks_from_scratch() -> None:
    budgets = [
        [{"classes": [n, n + 1], "scratch": 0.9 if n < count else None} for n in range(9)] for count in (7, 6)
    ]
    assert [[row["classes"][0] for row in rows] for rows in with_scratch(budgets)] == [list(range(6))] * 2
    few = with_scratch([budgets[0], budgets[1][4:]])
    assert [len(rows) for rows in few] == [9, 5]
    assert all(row["scratch"] is None for rows in few for row in rows)
