"""Every piece of the method can be left out, and what it does is then not done."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from assembler.candidate import cut, finish
from assembler.nominal import nominal_profile
from assembler.pieces import TRAINING, Pieces
from assembler.propose import Estimator, least_cost, propose
from assembler.scenario import Scenario, parse_scenario
from assembler.train import Trained, train
from supernet.gates import full_gates
from tests.assembler.runs import short_setup, small_setup
from tests.shapes import SMALL
from tests.small import small_checkpoint, small_images, small_supernet, sorted_images

PROFILE = nominal_profile(SMALL)


def scenario(latency_ms: float, *classes: str) -> Scenario:
    body = {"task": {"kind": "classification", "classes": classes}, "limits": {"latency_ms": latency_ms}}
    return parse_scenario(json.dumps(body).encode())


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = list(train(short_setup(tmp_path_factory.mktemp("short"))))[-1]
    assert isinstance(trained, Trained)
    return trained


@pytest.mark.parametrize("piece", TRAINING)
def test_every_piece_of_training_can_be_left_out(tmp_path: Path, short: Trained, piece: str) -> None:
    setup = short_setup(tmp_path, without=frozenset({piece}))
    assert setup.fingerprint != short_setup(tmp_path).fingerprint
    trained = list(train(setup))[-1]
    assert isinstance(trained, Trained)
    mine, theirs = trained.assembler.state_dict(), short.assembler.state_dict()
    if piece == "saliency":
        assert float(mine["saliency"].abs().max()) == 0.0 < float(theirs["saliency"].abs().max())
    if piece in ("learning", "ladder"):
        assert float(mine["shift"].abs().max()) == 0.0 < float(theirs["shift"].abs().max())
    # Without published weights there is nothing to settle, to probe or to go back to.
    if piece not in ("learning", "probe", "settling", "way-back"):
        assert not torch.equal(trained.supernet.head.weight, short.supernet.head.weight)


def test_a_piece_that_does_not_exist_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batchnorm is no piece of training; these are: average"):
        small_setup(tmp_path, without=frozenset({"batchnorm"}))


def test_pieces_of_serving_can_be_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    card = small_checkpoint(folder, small_supernet())
    least = least_cost(scenario(1e-6, "ant", "fox"), card, PROFILE).latency_ms
    asked = scenario(least * 1.6, "ant", "fox")
    whole = propose(asked, Estimator(folder, card), PROFILE)
    general = propose(asked, Estimator(folder, card, Pieces(weights=(0.0,))), PROFILE)
    unshrunk = propose(asked, Estimator(folder, card, Pieces(sides=False)), PROFILE)
    sides = [proposal.gates.side for proposal in whole]
    assert len(set(sides)) == len(general) <= len(whole)
    assert len(Estimator(folder, card, Pieces(weights=(0.0,))).utilities((0,), 0.5)) == 1
    assert {proposal.gates.side for proposal in unshrunk} == {None} < set(sides)


def test_a_head_that_is_not_fitted_is_the_supernets(tmp_path: Path) -> None:
    supernet = small_supernet()
    images = sorted_images(small_images(20, 1), small_images(20, 2), "fox", "ant")
    candidate = finish(cut(full_gates(SMALL), supernet, images), SMALL, images, refit=False)
    assert np.array_equal(candidate.subnet.head_weight, supernet.head.weight.detach().numpy()[[5, 0]])
