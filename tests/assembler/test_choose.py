"""The choice falls on what is best on a few images and in time, and what is late gives way to less of its kind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from assembler.assemble import images_for
from assembler.choose import Chooser
from assembler.device import Profile
from assembler.measure import ModelMeasurement
from assembler.nominal import nominal_profile
from assembler.pieces import Pieces
from assembler.propose import Estimator, caps_of, portfolios
from assembler.scenario import Scenario, parse_scenario
from assembler.timing import CAREFUL, RETRIES, SMALL_MACS, SMALL_RETRIES, Timed, hopeful
from supernet.checkpoint import Checkpoint, load_checkpoint
from supernet.gates import Gates
from tests.shapes import SMALL
from tests.small import small_checkpoint, small_supernet

PROFILE = nominal_profile(SMALL)
Kit = tuple[Checkpoint, Estimator, Profile]


class Telling(Timed):
    """Says which gates take how much of the limit, and notes which it was asked about."""

    def __init__(self, scenario: Scenario, checkpoint: Checkpoint, share: Callable[[Gates], float]) -> None:
        super().__init__(scenario, checkpoint.card, PROFILE)
        self._share, self.asked = share, list[Gates]()

    def keeps(self, gates: Gates) -> bool:
        self.asked.append(gates)
        took = self._share(gates) * (self._scenario.limits.latency_ms or 0.0)
        self._found[gates.counts, gates.side] = ModelMeasurement(took, 1.0)
        return super().keeps(gates)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder: Path = tmp_path_factory.mktemp("zoo") / "small"
    card = small_checkpoint(folder, small_supernet())
    return load_checkpoint(folder), Estimator(folder, card), PROFILE


def asking(share: float, **limits: float) -> Scenario:
    dense = PROFILE.latency.predict_ms([block.modules for block in SMALL.blocks])
    task = {"kind": "classification", "classes": ["fox", "ant", "bee"]}
    asked = {"task": task, "limits": {"latency_ms": dense * share, **limits}}
    return parse_scenario(json.dumps(asked).encode())


def chooser(kit: Kit, asked: Scenario, share: Callable[[Gates], float]) -> tuple[Chooser, Telling]:
    checkpoint, _, profile = kit
    timed = Telling(asked, checkpoint, share)
    caps = hopeful(caps_of(asked.limits), profile)
    return Chooser(asked, *kit, images_for(asked, checkpoint), caps, timed), timed


def as_foretold(asked: Scenario, quicker: float = 1.0) -> Callable[[Gates], float]:
    """Return what share of the limit networks take that are so much quicker than foretold."""
    limit = asked.limits.latency_ms or 0.0
    return lambda gates: PROFILE.latency_at(gates.side).predict_ms(gates.counts) / quicker / limit


def test_what_is_in_time_is_timed_once_and_taken(kit: Kit) -> None:
    asked = asking(0.6)
    mine, timed = chooser(kit, asked, as_foretold(asked))
    choice = mine.choose()
    assert choice is not None
    assert {(gates.counts, gates.side) for gates in timed.asked} == {
        (choice.candidate.gates.counts, choice.candidate.gates.side)
    }


def one_side(kit: Kit) -> Kit:
    """Return the kit without smaller sides of the image."""
    checkpoint, _, profile = kit
    return checkpoint, Estimator(checkpoint.folder, checkpoint.card, Pieces(sides=False)), profile


def test_what_is_quicker_than_foretold_gives_way_to_more_that_is_in_time(kit: Kit) -> None:
    asked, kit = asking(0.6), one_side(kit)
    (plain, _), (more, timed) = (chooser(kit, asked, as_foretold(asked, quicker)) for quicker in (1.0, 1.5))
    small, large = plain.choose(), more.choose()
    assert small is not None
    assert large is not None
    foretold = [choice.proposal.predicted.latency_ms for choice in (small, large)]
    assert foretold[0] * 1.1 < foretold[1] <= (asked.limits.latency_ms or 0.0) * 1.5
    assert large.candidate.gates.counts == large.proposal.gates.counts
    assert timed.keeps(large.candidate.gates)


def test_more_that_is_late_when_it_is_finished_gives_way_to_what_was_in_time(kit: Kit) -> None:
    asked, kit = asking(0.6), one_side(kit)
    mine, timed = chooser(kit, asked, as_foretold(asked, 1.3))
    large = mine.choose()
    assert large is not None
    mine.lower(large, ModelMeasurement(1.04 * (asked.limits.latency_ms or 0.0), 1.0))
    small = mine.choose()
    assert small is not None
    assert small.proposal.predicted.latency_ms < large.proposal.predicted.latency_ms
    assert timed.keeps(small.candidate.gates)


def test_what_was_in_time_stands_in_where_more_misses_the_accuracy_floor(kit: Kit) -> None:
    asked, kit = asking(0.6, accuracy_min=1.0), one_side(kit)
    mine, timed = chooser(kit, asked, as_foretold(asked, 1.3))
    assert mine.choose() is not None
    finished = {gates.counts for gates in mine._cuts}
    assert len(finished) == 2
    assert {gates.counts for gates in timed.asked} >= finished


def test_more_that_is_late_is_not_taken(kit: Kit) -> None:
    asked, kit = asking(0.6), one_side(kit)
    plain, _ = chooser(kit, asked, as_foretold(asked))
    small = plain.choose()
    assert small is not None
    most = small.proposal.predicted.latency_ms

    def share(gates: Gates) -> float:
        foretold = PROFILE.latency_at(gates.side).predict_ms(gates.counts)
        return as_foretold(asked, 1.5)(gates) if foretold <= most * (1 + 1e-9) else 1.1

    mine, timed = chooser(kit, asked, share)
    choice = mine.choose()
    assert choice is not None
    assert any(timed.excess(gates) == pytest.approx(1.1) for gates in timed.asked)
    assert timed.keeps(choice.candidate.gates)


@pytest.mark.parametrize(("quicker", "taken"), [(1.03, True), (0.99, False)])
def test_of_small_networks_one_that_is_foretold_to_be_late_is_tried(
    kit: Kit, quicker: float, taken: bool
) -> None:
    asked = asking(1.0)
    careful = (asked.limits.latency_ms or 0.0) * CAREFUL
    mine, timed = chooser(one_side(kit), asked, as_foretold(asked, quicker))
    choice = mine.choose()
    assert choice is not None
    assert PROFILE.latency.predict_ms(timed.asked[0].counts) > careful
    assert (choice.proposal.predicted.latency_ms > careful) == taken
    assert timed.keeps(choice.candidate.gates)


def test_after_a_small_network_that_is_late_comes_the_next_smaller_one(kit: Kit) -> None:
    asked = asking(1.0)
    mine, timed = chooser(one_side(kit), asked, as_foretold(asked, 0.93))
    assert mine.choose() is not None
    took = [PROFILE.latency.predict_ms(gates.counts) for gates in timed.asked]
    assert took == sorted(took, reverse=True)
    assert len(took) > 2
    assert took[1] > 0.93 * took[0]


def test_of_large_networks_none_is_tried_that_is_foretold_to_be_late(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assembler.choose.SMALL_MACS", 0)
    asked = asking(1.0)
    mine, timed = chooser(one_side(kit), asked, as_foretold(asked, 1.01))
    assert mine.choose() is not None
    careful = (asked.limits.latency_ms or 0.0) * CAREFUL
    assert all(PROFILE.latency.predict_ms(gates.counts) <= careful for gates in timed.asked)


def test_a_side_that_is_a_little_late_stands_with_less_against_the_others(kit: Kit) -> None:
    asked = asking(0.6)
    free, _ = chooser(kit, asked, lambda _: 0.9)
    first = free.choose()
    assert first is not None
    best = first.candidate.gates
    others = [
        mine[0].gates
        for mine in portfolios(asked, kit[1], PROFILE, hopeful(caps_of(asked.limits), PROFILE))
        if mine[0].gates.side != best.side
    ]
    assert others

    def share(gates: Gates) -> float:
        # The shape that is best is late, and all the other sides are far too late.
        if gates.side != best.side:
            return 4.0
        return 1.02 if gates.counts == best.counts else 0.95

    mine, timed = chooser(kit, asked, share)
    choice = mine.choose()
    assert choice is not None
    assert choice.candidate.gates.side == best.side
    assert 0 < sum(choice.candidate.gates.counts) < sum(best.counts)
    assert timed.keeps(choice.candidate.gates)


@pytest.mark.parametrize(("small_macs", "tries"), [(0, RETRIES), (SMALL_MACS, SMALL_RETRIES)])
def test_no_shape_is_timed_twice_on_the_way_to_less(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, small_macs: float, tries: int
) -> None:
    monkeypatch.setattr("assembler.choose.SMALL_MACS", small_macs)
    mine, timed = chooser(kit, asking(0.8), lambda _: 1.05)
    assert mine.choose() is not None
    shapes = [(gates.counts, gates.side) for gates in timed.asked]
    assert len(shapes) == len(set(shapes))
    sides = [side for _, side in shapes]
    assert max(sides.count(side) for side in set(sides)) == tries


def test_where_all_are_late_the_one_that_misses_least_is_taken(kit: Kit) -> None:
    shares: dict[Gates, float] = {}

    def share(gates: Gates) -> float:
        return shares.setdefault(gates, 1.5 if len(shares) == 1 else 2.0 + len(shares))

    mine, _ = chooser(kit, asking(0.8), share)
    choice = mine.choose()
    assert choice is not None
    least = next(gates for gates, share in shares.items() if share == 1.5)
    assert (choice.candidate.gates.counts, choice.candidate.gates.side) == (least.counts, least.side)
    assert mine.choose() is None


def test_a_finished_model_that_is_late_gives_way_to_less(kit: Kit) -> None:
    asked = asking(0.8)
    mine, _ = chooser(kit, asked, lambda _: 0.9)
    counts = []
    for _ in range(3):
        choice = mine.choose()
        assert choice is not None
        counts.append(sum(choice.candidate.gates.counts))
        mine.lower(choice, ModelMeasurement(1.3 * (asked.limits.latency_ms or 0.0), 1.0))
    assert len(set(counts)) > 1


def test_where_the_best_misses_the_accuracy_floor_the_others_are_finished_too(kit: Kit) -> None:
    plain, _ = chooser(kit, asking(0.6), lambda _: 0.9)
    high, timed = chooser(kit, asking(0.6, accuracy_min=1.0), lambda _: 0.9)
    one, best = plain.choose(), high.choose()
    assert one is not None
    assert best is not None
    assert one.candidate.accuracy is None
    assert best.candidate.accuracy is not None
    assert len({(gates.counts, gates.side) for gates in timed.asked}) > 1
