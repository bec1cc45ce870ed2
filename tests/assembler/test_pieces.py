"""Every piece of the method can be left out, and what it does is then not done."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assembler.candidate import cut, finish
from assembler.neighbours import neighbours
from assembler.nominal import nominal_profile
from assembler.pieces import PUBLISHED, STANDING, TRAINING, Pieces
from assembler.propose import Estimator, least_cost, propose
from assembler.scenario import Scenario, parse_scenario
from assembler.train import NEIGHBOUR_IMAGES, STATE_FILE, Progress, Setup, Trained, phase_ends, train
from supernet.backbones import LITE0, grow
from supernet.data import DataSet, Split
from supernet.gates import full_gates
from supernet.model import Supernet
from tests.assembler.runs import short_setup, small_setup
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_images, small_supernet, sorted_images

PROFILE = nominal_profile(SMALL)


def scenario(latency_ms: float, *classes: str) -> Scenario:
    body = {"task": {"kind": "classification", "classes": classes}, "limits": {"latency_ms": latency_ms}}
    return parse_scenario(json.dumps(body).encode())


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = list(train(short_setup(tmp_path_factory.mktemp("short"))))[-1]
    assert isinstance(trained, Trained)
    return trained


PHASES = ("full", "elastic", "settle")
ALWAYS = sorted(TRAINING.keys() - PUBLISHED - STANDING)


@pytest.mark.parametrize("piece", ALWAYS)
def test_every_piece_of_training_can_be_left_out(tmp_path: Path, short: Trained, piece: str) -> None:
    setup = short_setup(tmp_path, without=frozenset({piece}))
    assert setup.fingerprint != short_setup(tmp_path).fingerprint
    *steps, trained = train(setup)
    assert isinstance(trained, Trained)
    phases = {step.phase for step in steps if isinstance(step, Progress)}
    assert phases & set(PHASES) == set(PHASES) - {piece}
    mine, theirs = trained.assembler.state_dict(), short.assembler.state_dict()
    if piece == "saliency":
        assert float(mine["saliency"].abs().max()) == 0.0 < float(theirs["saliency"].abs().max())
    if piece in ("learning", "ladder"):
        assert float(mine["shift"].abs().max()) == 0.0 < float(theirs["shift"].abs().max())
    if piece == "middle":
        assert float(mine["mask"].min()) == 1.0 > float(theirs["mask"].min())
    if piece != "learning":
        assert not torch.equal(trained.supernet.head.weight, short.supernet.head.weight)


def test_a_piece_that_does_not_exist_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batchnorm is no piece of training; these are: full"):
        small_setup(tmp_path, without=frozenset({"batchnorm"}))


@pytest.mark.parametrize("piece", sorted(PUBLISHED | STANDING))
def test_a_piece_that_a_run_does_not_have_cannot_be_left_out(tmp_path: Path, piece: str) -> None:
    with pytest.raises(ValueError, match=f"{piece} is a piece of training from published weights alone"):
        small_setup(tmp_path, without=frozenset({piece}))


def stopped_at(setup: Setup, step: int) -> dict[str, Any]:
    """Return the state of a run that was stopped after a step."""
    with closing(train(setup)) as steps:
        next(each for each in steps if isinstance(each, Progress) and each.step == step)
    found: dict[str, Any] = torch.load(setup.work / STATE_FILE, weights_only=True)
    return found


def test_neighbours_are_found_by_weights_that_were_trained(tmp_path: Path) -> None:
    setup = short_setup(tmp_path, without=frozenset({"full"}))
    average = Supernet(SMALL, len(CLASSES))
    average.load_state_dict(stopped_at(setup, phase_ends(10, setup.shares)["elastic"])["average"])
    split = [part.balanced(NEIGHBOUR_IMAGES, seed=1) for part in (setup.data.train, setup.data.val)]
    *_, trained = train(setup)
    assert isinstance(trained, Trained)
    found = neighbours(average, setup.data.groups, *split)
    assert np.allclose(trained.assembler.closeness.numpy(), found, atol=1e-5)


def test_published_weights_can_be_taken_as_they_are(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    split = Split(draw.integers(0, 256, (24, 3, 32, 32), np.uint8), np.arange(24) % 6)
    plain = small_setup(tmp_path / "plain", data=DataSet("noise", CLASSES, split, split, split))
    plain = replace(plain, backbone=LITE0.name, architecture=LITE0.design(side_px=32))
    plain = replace(plain, recipe=replace(plain.recipe, epochs=10, learning_rate=1e-6))
    unfitted = replace(plain, work=tmp_path / "unfitted", without=frozenset({"settling", "probe"}))
    fitted, found = (stopped_at(setup, 1)["supernet"] for setup in (plain, unfitted))
    published = Supernet(plain.architecture, len(CLASSES))
    grow(published, LITE0)
    for name, value in published.state_dict().items():
        if not name.startswith("head."):
            assert torch.allclose(found[name], value, atol=1e-4), name
    assert not torch.allclose(fitted["stem.scale"], found["stem.scale"], rtol=1e-2)
    assert not torch.allclose(fitted["head.weight"], found["head.weight"], atol=1e-2)


def test_a_full_net_can_go_no_way_back(tmp_path: Path) -> None:
    setup = short_setup(tmp_path)
    setup = replace(
        setup, recipe=replace(setup.recipe, epochs=4, stands=True), without=frozenset({"way-back"})
    )
    alone = phase_ends(20, setup.shares)["full"]
    before = stopped_at(setup, alone)["average"]
    teacher = stopped_at(setup, alone + 1)["companions"]["teacher"]
    assert all(torch.equal(teacher[name], value) for name, value in before.items())


def test_pieces_of_serving_can_be_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    card = small_checkpoint(folder, small_supernet())
    least = least_cost(scenario(1e-6, "ant", "fox"), card, PROFILE).latency_ms
    asked = scenario(least * 1.6, "ant", "fox")
    whole = propose(asked, Estimator(folder, card), PROFILE)
    general = propose(asked, Estimator(folder, card, Pieces(weights=(0.0,))), PROFILE)
    unshrunk = propose(asked, Estimator(folder, card, Pieces(sides=False)), PROFILE)
    unforetold = propose(asked, Estimator(folder, card, Pieces(predictor=False)), PROFILE)
    sides = [proposal.gates.side for proposal in whole]
    assert len(set(sides)) == len(general) <= len(whole)
    assert len(Estimator(folder, card, Pieces(weights=(0.0,))).utilities((0,), 0.5)) == 1
    assert {proposal.gates.side for proposal in unshrunk} == {None} < set(sides)
    assert [p.gates.side for p in unforetold][: len(set(sides))] == [
        s for s in SMALL.every_side if s in sides
    ]


def test_a_head_that_is_not_fitted_is_the_supernets(tmp_path: Path) -> None:
    supernet = small_supernet()
    images = sorted_images(small_images(20, 1), small_images(20, 2), "fox", "ant")
    candidate = finish(cut(full_gates(SMALL), supernet, images), SMALL, images, refit=False)
    assert np.array_equal(candidate.subnet.head_weight, supernet.head.weight.detach().numpy()[[5, 0]])
