"""What is foretold is bounded, honest about limits, and the same as what is cut out."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.cost import Cost
from assembler.device import Profile
from assembler.estimate import estimate, needed_limits
from assembler.nominal import nominal_profile
from assembler.propose import Estimator, budget_of, caps_of, cost, least_cost, propose
from assembler.scenario import Scenario, parse_scenario
from assembler.search import Caps
from supernet.card import Card, load_card
from supernet.gates import full_gates
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_supernet

PROFILE = nominal_profile(SMALL)


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Estimator:
    folder = tmp_path_factory.mktemp("zoo") / "small"
    small_checkpoint(folder, small_supernet())
    return Estimator(folder, load_card(folder))


def scenario(classes: tuple[str, ...] = ("ant", "fox"), **limits: float) -> Scenario:
    body = {"task": {"kind": "classification", "classes": classes}, "limits": limits}
    return parse_scenario(json.dumps(body).encode())


def needed(card: Card, profile: Profile = PROFILE) -> dict[str, float]:
    return needed_limits(least_cost(scenario(latency_ms=1.0), card, profile), profile)


@settings(max_examples=40)
@given(share=st.floats(0.0, 1.2), classes=st.sets(st.sampled_from(CLASSES), min_size=1))
def test_proposals_keep_to_the_limit(estimator: Estimator, share: float, classes: set[str]) -> None:
    low = needed(estimator.card)["latency_ms"]
    asked = scenario(tuple(sorted(classes)), latency_ms=low * (1 + 3 * share))
    proposals = propose(asked, estimator, PROFILE)
    assert 1 <= len(proposals) <= 5
    assert len({proposal.gates for proposal in proposals}) == len(proposals)
    assert all(p.predicted.latency_ms <= asked.limits.latency_ms for p in proposals)  # type: ignore[operator]
    assert all(0.0 <= p.predicted.accuracy <= 1.0 for p in proposals)


@pytest.mark.parametrize("name", ["latency_ms", "memory_mb", "size_mb"])
def test_a_limit_out_of_reach_names_itself_and_what_would_do(estimator: Estimator, name: str) -> None:
    least = needed(estimator.card)[name]
    answer = estimate(scenario(**{name: least * 0.9}), estimator.card, estimator, PROFILE)
    assert not answer.feasible
    assert answer.predicted is None
    assert answer.binding == (name,)
    (change,) = answer.nearest
    value = change.change[f"/limits/{name}"]
    assert least * 0.9 < value <= least * 1.2
    assert estimate(scenario(**{name: value}), estimator.card, estimator, PROFILE).feasible


def test_all_limits_out_of_reach_are_named_together(estimator: Estimator) -> None:
    answer = estimate(scenario(latency_ms=1e-6, size_mb=1e-6), estimator.card, estimator, PROFILE)
    assert answer.binding == ("latency_ms", "size_mb")
    assert set(answer.nearest[0].change) == {"/limits/latency_ms", "/limits/size_mb"}


def test_an_accuracy_out_of_reach_says_what_can_be_reached(estimator: Estimator) -> None:
    asked = scenario(latency_ms=needed(estimator.card)["latency_ms"] * 1.1, accuracy_min=1.0)
    answer = estimate(asked, estimator.card, estimator, PROFILE)
    assert answer.binding == ("accuracy_min",)
    assert answer.best_possible is not None
    floor = answer.nearest[0].change["/limits/accuracy_min"]
    assert floor <= answer.best_possible.accuracy
    lowered = scenario(latency_ms=asked.limits.latency_ms or 0.0, accuracy_min=floor)
    assert estimate(lowered, estimator.card, estimator, PROFILE).feasible


def test_without_a_limit_on_cost_the_dense_net_is_proposed(estimator: Estimator) -> None:
    proposals = propose(scenario(accuracy_min=0.1), estimator, PROFILE)
    assert proposals[0].gates == full_gates(SMALL)


def test_a_looser_limit_never_foretells_a_worse_model(estimator: Estimator) -> None:
    low = needed(estimator.card)["latency_ms"]
    foretold = []
    for step in range(24):
        answer = estimate(scenario(latency_ms=low * 1.07**step), estimator.card, estimator, PROFILE)
        assert answer.predicted is not None
        foretold.append(answer.predicted.accuracy)
    assert all(more >= less - 0.002 for less, more in pairwise(foretold))


def test_the_advice_for_a_tight_limit_keeps_the_accuracy_floor_in_mind(estimator: Estimator) -> None:
    asked = scenario(latency_ms=1e-6, accuracy_min=1.0)
    (nearest,) = estimate(asked, estimator.card, estimator, PROFILE).nearest
    advised = {pointer.removeprefix("/limits/"): value for pointer, value in nearest.change.items()}
    assert set(advised) == {"latency_ms", "accuracy_min"}
    assert estimate(scenario(**advised), estimator.card, estimator, PROFILE).feasible


@pytest.mark.parametrize("name", ["latency_ms", "memory_mb", "size_mb"])
def test_the_loosest_limit_that_can_be_written_is_answered(estimator: Estimator, name: str) -> None:
    answer = estimate(scenario(**{name: 1e9, "accuracy_min": 1.0}), estimator.card, estimator, PROFILE)
    assert answer.feasible or answer.binding == ("accuracy_min",)


def test_one_class_alone_is_foretold_to_be_always_right(estimator: Estimator) -> None:
    answer = estimate(scenario(("ant",), size_mb=1.0, accuracy_min=1.0), estimator.card, estimator, PROFILE)
    assert answer.feasible


def test_the_budget_is_the_tightest_share(estimator: Estimator) -> None:
    asked = scenario(latency_ms=1.0)
    card = estimator.card
    dense = cost(asked, card, full_gates(SMALL).counts, PROFILE)
    assert isinstance(dense, Cost)
    assert budget_of(Caps(), asked, card, PROFILE) == 1.0
    least = cost(asked, card, (0, 0, 0), PROFILE)
    half = (least.latency_ms + dense.latency_ms) / 2
    assert budget_of(Caps(latency_ms=half), asked, card, PROFILE) == pytest.approx(0.5)
    tight = Caps(latency_ms=half, size_mb=least.size_mb)
    assert budget_of(tight, asked, card, PROFILE) == pytest.approx(0.0, abs=1e-6)
    assert caps_of(asked.limits) == Caps(latency_ms=1.0)


def test_the_estimator_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, assembler.estimate, assembler.manifest; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_advised_accuracy_is_less_than_foretold_by_the_error_of_the_predictor(
    estimator: Estimator,
) -> None:
    asked = scenario(latency_ms=needed(estimator.card)["latency_ms"] * 1.5, accuracy_min=1.0)
    answer = estimate(asked, estimator.card, estimator, PROFILE)
    assert answer.accuracy_error == estimator.card.figures.predictor_error > 0
    assert answer.best_possible is not None
    advised = answer.nearest[0].change["/limits/accuracy_min"]
    assert advised == pytest.approx(answer.best_possible.accuracy - 2 * answer.accuracy_error, abs=0.001)
