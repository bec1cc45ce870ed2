"""Every weight of the portfolio gives what a search for it alone gives."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assembler.nominal import nominal_profile
from assembler.propose import (
    FEWEST_COMPARED,
    Estimator,
    affordable,
    budget_of,
    caps_of,
    least_cost,
    near_ladder,
    propose,
)
from assembler.scenario import Scenario, parse_scenario
from assembler.search import search
from assembler.utility import PORTFOLIO
from service.zoo import shipped_zoo
from supernet.backbones import LITE0
from supernet.card import load_card
from supernet.gates import full_gates, prefix_gates
from supernet.task import Kind, Task
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_supernet

PROFILE = nominal_profile(SMALL)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("zoo") / "small"
    small_checkpoint(folder, small_supernet())
    return folder


@pytest.fixture(scope="module")
def estimator(small_folder: Path) -> Estimator:
    return Estimator(small_folder, load_card(small_folder))


def scenario(latency_ms: float, *classes: str) -> Scenario:
    body = {"task": {"kind": "classification", "classes": classes}, "limits": {"latency_ms": latency_ms}}
    return parse_scenario(json.dumps(body).encode())


@pytest.mark.parametrize("share", [1.0, 1.1, 1.3, 1.6, 2.0, 4.0])
@pytest.mark.parametrize("classes", [("ant", "bee"), ("cat", "fox", "eel"), ("dog",)])
def test_one_search_serves_all_weights_at_every_side(
    estimator: Estimator, share: float, classes: tuple[str, ...]
) -> None:
    least = least_cost(scenario(1e-6, *classes), estimator.card, PROFILE).latency_ms
    asked = scenario(least * share, *classes)
    caps = caps_of(asked.limits)
    found = propose(asked, estimator, PROFILE)
    best, rows = found[0].gates.side, [CLASSES.index(name) for name in classes]
    for side in SMALL.every_side:
        budget = budget_of(caps, asked, estimator.card, PROFILE, side)
        alone = [
            search(values, SMALL.at(side), PROFILE.at(side), caps, len(classes))
            for values in estimator.utilities(rows, budget, PORTFOLIO[: 3 if budget <= 0.5 else 1])
        ]
        mine = [proposal for proposal in found if proposal.gates.side == side]
        if alone[0] is None:
            assert not mine
            continue
        expected = [replace(gates, side=side) for gates in dict.fromkeys(alone) if gates is not None]
        assert [proposal.gates for proposal in mine] == (expected if side == best else expected[:1])
        assert len({proposal.predicted for proposal in mine}) == 1
    sides = list(dict.fromkeys(proposal.gates.side for proposal in found))
    firsts, more = found[: len(sides)], found[len(sides) :]
    assert [proposal.gates.side for proposal in firsts] == sides
    assert {proposal.gates.side for proposal in more} <= {best}
    accuracies = [proposal.predicted.accuracy for proposal in firsts]
    assert accuracies == sorted(accuracies, reverse=True)


def test_few_large_networks_are_compared_and_many_small_ones(estimator: Estimator) -> None:
    least = least_cost(scenario(1e-6, "ant", "bee"), estimator.card, PROFILE).latency_ms
    found = propose(scenario(1.6 * least, "ant", "bee"), estimator, PROFILE)
    many = found * 2
    assert len(many) > FEWEST_COMPARED
    assert affordable(many, SMALL) == many
    large = LITE0.design(side_px=128)
    dense = replace(found[0], gates=full_gates(large))
    assert affordable((dense,) * 5, large) == (dense,) * FEWEST_COMPARED
    assert affordable((), large) == ()


def test_of_one_class_and_all_others_the_class_counts(estimator: Estimator) -> None:
    tasks = [Task(kind=Kind.CLASSIFICATION, classes=(name,), other=True) for name in CLASSES]
    found = [estimator.accuracy(task, (2, 3, 3)) for task in tasks]
    assert len(set(found)) > len(CLASSES) // 2
    assert all(0.0 < accuracy < 1.0 for accuracy in found)
    assert estimator.accuracy(tasks[0].model_copy(update={"other": False}), (2, 3, 3)) == 1.0


def test_older_predictors_are_asked_with_what_they_expect() -> None:
    estimator = Estimator(shipped_zoo() / "fashion", load_card(shipped_zoo() / "fashion"))
    hard, easy = (
        estimator.accuracy(
            Task(kind=Kind.CLASSIFICATION, classes=(name,), other=True), estimator.card.architecture.modules
        )
        for name in ("Shirt", "Bag")
    )
    assert hard + 0.03 < easy


@pytest.mark.parametrize(
    ("counts", "sides"),
    [((1, 0, 0), {8, 12}), ((1, 1, 0), {8, 12, None}), ((3, 1, 1), {12, None}), ((3, 4, 4), {12, None})],
)
def test_sides_next_to_the_ladders_are_those_that_were_trained(
    counts: tuple[int, ...], sides: set[int | None]
) -> None:
    def near(raises: tuple[int, ...]) -> set[int | None]:
        return {side for side in SMALL.every_side if near_ladder(SMALL, raises, prefix_gates(counts, side))}

    assert near((2, 5)) == sides
    assert near(()) == set(SMALL.every_side)


def test_what_was_not_trained_is_proposed_only_where_nothing_else_is_left(small_folder: Path) -> None:
    card = load_card(small_folder)
    assert card.raises == ()
    loose = scenario(1e3, "ant", "bee")
    every = propose(loose, Estimator(small_folder, card), PROFILE)
    assert {proposal.gates.side for proposal in every} == {None, 12, 8}
    late = Estimator(small_folder, card.model_copy(update={"raises": (2, 5)}))
    assert {proposal.gates.side for proposal in propose(loose, late, PROFILE)} == {None, 12}
    # Nothing but the smallest side is in time, which on this ladder the image never has.
    least = least_cost(loose, card, PROFILE).latency_ms
    tight = scenario(1.001 * least, "ant", "bee")
    never = Estimator(small_folder, card.model_copy(update={"raises": (0, 0)}))
    assert {proposal.gates.side for proposal in propose(tight, never, PROFILE)} == {8}
