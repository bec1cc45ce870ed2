"""What the benchmarks ask for, compare and tell."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.scenario import parse_scenario
from benchmarks import demo
from benchmarks.downloads import Round, compare, describe, run_round, serving, store_artifacts
from benchmarks.quality import auroc
from benchmarks.report import kendall, report
from benchmarks.service import asked_for, scenarios
from benchmarks.tasks import class_sets, elsewhere
from supernet.sampling import closeness_of, held_out

SUPERNET: dict[str, Any] = {
    "name": "clothes",
    "kind": "classification",
    "classes": ["coat", "bag", "sneaker", "boot", "shirt"],
    "dense": {"latency_ms": 0.2, "memory_mb": 4.0, "size_mb": 0.5, "accuracy": 0.93},
}


def test_the_scenarios_that_are_drawn_are_valid_different_and_set_every_limit() -> None:
    supernet = {**SUPERNET, "dense": {**SUPERNET["dense"], "accuracy": 0.98}}
    drawn = list(itertools.islice(scenarios(supernet, 0), 300))
    parsed = [parse_scenario(json.dumps(one).encode()) for one in drawn]
    assert len({one.model_dump_json(exclude={"name"}) for one in parsed}) == 300
    asked = [set(asked_for(one)) for one in drawn]
    for name in ("latency_ms", "size_mb", "memory_mb", "accuracy_min", "other"):
        assert 20 < sum(name in one for one in asked) < 280
    assert all(len(one.task.classes) < 5 for one in parsed if one.task.other)


def test_the_same_seed_draws_the_same_scenarios() -> None:
    first, again, others = (list(itertools.islice(scenarios(SUPERNET, seed), 20)) for seed in (1, 1, 2))
    assert first == again
    assert first != others


CLOSE = closeness_of([c // 5 for c in range(40)])


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_class_sets_are_half_clusters_and_those_of_up_to_5_never_seen_in_training(count: int) -> None:
    sets = class_sets(CLOSE, count)
    assert len(set(sets)) == len(sets) == 20
    assert all(len(classes) == count and list(classes) == sorted(set(classes)) for classes in sets)
    if count <= 5:
        assert all(held_out(classes) for classes in sets)
        assert sets[0] == tuple(range(sets[0][0], sets[0][0] + count)) or len({c // 5 for c in sets[0]}) == 1
    clusters, others = (
        [len({c // 5 for c in classes}) for classes in kind] for kind in (sets[::2], sets[1::2])
    )
    assert np.mean(clusters) < np.mean(others) - 0.5
    assert class_sets(CLOSE, count) == sets


def test_few_classes_give_fewer_sets_and_all_of_them_one() -> None:
    close = closeness_of([0, 0, 1, 1, 1])
    assert class_sets(close, 5) == class_sets(close, 8) == [(0, 1, 2, 3, 4)]
    assert 0 < len(class_sets(close, 2)) < 10


def test_the_wrong_task_is_one_of_the_same_kind_with_other_classes() -> None:
    sets = class_sets(CLOSE, 5)
    for index, classes in enumerate(sets):
        wrong = elsewhere(sets, index)
        assert sets.index(wrong) % 2 == index % 2
        assert len(set(wrong) & set(classes)) <= 2
    assert elsewhere([(0, 1)], 0) == (0, 1)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12)
)
def test_auroc_is_how_often_a_positive_is_above_a_negative(ours: list[int], theirs: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in ours for b in theirs]
    assert auroc(np.array(ours, float), np.array(theirs, float)) == pytest.approx(np.mean(pairs))


def test_kendalls_tau_counts_pairs_in_order() -> None:
    assert kendall([(1, 1), (2, 2), (3, 3)]) == 1.0
    assert kendall([(1, 3), (2, 2), (3, 1)]) == -1.0
    assert kendall([(1, 1), (2, 3), (3, 2)]) == pytest.approx(1 / 3)


def found() -> dict[str, Any]:
    """Return a result of two class sets at two limits, one of them refused."""
    row = {
        "made": True,
        "cluster": True,
        "limit_ms": 0.1,
        "measured_ms": 0.09,
        "scratch_ms": 0.08,
        "measured_again_ms": [0.13, 0.11],
        "predicted_ms": 0.099,
        "predicted_memory_mb": 2.0,
        "memory_mb": 2.5,
        "predicted_accuracy": 0.9,
        "validation_accuracy": 0.91,
        "took_s": 0.5,
        "agnostic": 0.8,
        "agnostic_refit": 0.85,
        "right_gates": 0.88,
        "wrong_gates": 0.86,
        "pruned": 0.5,
        "uniform_refit": 0.7,
    }
    rows = [
        {**row, "classes": [0, 1], "budget": 0.1, "generated": 0.90, "scratch": 0.88, "gates": [[0], [1]]},
        {**row, "classes": [2, 3], "budget": 0.1, "generated": 0.94, "scratch": None, "gates": [[0], [2]]},
        {**row, "classes": [0, 1], "budget": 0.2, "generated": 0.95, "scratch": 0.96, "gates": [[0, 1], [1]]},
        {"made": False, "classes": [2, 3], "budget": 0.2, "cluster": True, "limit_ms": 0.0},
    ]
    other = {"auroc": 0.95, "false_positives_at_95": 0.2, "accuracy": 0.9, "predicted_accuracy": 0.93}
    return {
        "machine": {"cpu": "a cpu", "versions": {"torch": "2"}},
        "supernet": "toys",
        "seed": 0,
        "dense_ms": 0.5,
        "rows": rows,
        "dense": [{"classes": [0, 1], "dense_refit": 0.97}, {"classes": [2, 3], "dense_refit": 0.99}],
        "bound": [{"made": True, "limits_met": True}, {"made": False}],
        "other": [other],
        "unverified_s": [0.1, 0.2, 0.3],
        "refined": [{"seconds": 20.0, "gain": 0.012, "rows": rows[:2]}],
    }


def test_a_report_tells_means_over_the_rows_that_have_a_figure(tmp_path: Path) -> None:
    report(found(), tmp_path)
    told = (tmp_path / "quality-toys.md").read_text()
    assert (
        "| 2 | 10% | 2 | 0.090 | 0.080 | 92.0 | 98.0 | 88.0 | +2.00 (1) | 80.0 | +12.00 ± 2.00 | 85.0 "
        "| +7.00 ± 2.00 | 50.0 | 70.0 |" in told
    )
    assert "| 2 | 20% | 1 | 0.090 | 0.080 | 95.0 | 97.0 | 96.0 | -1.00 (1) |" in told
    assert "Refused as out of reach: 1 of 2 at 20%." in told
    assert "| clusters of 2 to 5 | 10% | 88.0 | 86.0 | +2.00 ± 0.00 | 0.33 | 0.33 |" in told
    assert "within their limit: 3 of 3 as delivered, 0 measured again" in told
    assert "that bind: 1 of 2 met" in told
    assert "as many images of the others as of the classes: mean absolute error 3.00 points" in told
    assert "-2.00 points from that on test images on average, mean absolute error 2.67\n" in told
    assert "foretold latency, memory, file size: mean errors 10.0%, 20.0%\n" in told
    assert "without verification: p50 0.200 s" in told
    assert "refined for 20 s: +1.20 points on 2 models" in told
    for name in ("accuracy-toys.png", "overlap-toys.png"):
        assert (tmp_path / name).stat().st_size > 5000


def test_downloads_are_compared_per_second_of_processor() -> None:
    ours = [Round(mb=40, cpu_s=0.1, wall_s=1, differ=0), Round(mb=40, cpu_s=0.2, wall_s=2, differ=1)]
    plain = [Round(mb=40, cpu_s=0.4, wall_s=1, differ=0), Round(mb=20, cpu_s=0.3, wall_s=1, differ=0)]
    assert compare(ours, plain) == {"median": 3.5, "least": 3.0}
    assert describe(ours) == {"mb_per_cpu_s": 300.0, "mb_per_s": 30.0, "mb": 80, "differ": 1}


def test_downloads_from_both_servers_are_the_stored_files(tmp_path: Path) -> None:
    stored = store_artifacts(tmp_path, 2, 100_000)
    commands = {
        "/artifacts/{id}": ["service.cli", "api", "--port", "0", "--data-dir", str(tmp_path)],
        "/{path.name}": ["benchmarks.downloads", "--plain", str(stored[0].path.parent)],
    }
    for form, command in commands.items():
        paths = [(form.format(id=one.id, path=one.path), one.sha256) for one in stored[:1]]
        with serving(command) as server:
            done = run_round(server, [*paths, (paths[0][0], stored[1].sha256)], 2, 3)
        assert (done.mb, done.differ) == (0.6, 3)
        assert done.cpu_s >= 0


@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("--nothing", 2)])
def test_the_benchmark_of_the_demo_is_not_run_where_only_help_is_wanted(
    word: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["demo.py", word])
    # Nothing is found there that it could run.
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        demo.main()
    assert ended.value.code == code
