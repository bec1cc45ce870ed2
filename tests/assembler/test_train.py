"""The whole way from images to a checkpoint, small."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from assembler.probe import start_head
from assembler.propose import Estimator
from assembler.publish import Publication, publish
from assembler.train import (
    SHARES,
    STANDING_SHARES,
    STATE_FILE,
    Progress,
    Setup,
    Trained,
    phase_ends,
    phase_shares,
    train,
)
from supernet.backbones import LITE0, grow, settle
from supernet.card import DataSource, load_card
from supernet.checkpoint import load_checkpoint
from supernet.data import DataSet, Split
from supernet.evaluate import as_batch
from supernet.model import Supernet
from supernet.task import Kind, Task
from tests.assembler.runs import short_setup, small_setup
from tests.small import CLASSES

WORK = ["full", "elastic", "ladder", "saliency", "joint", "settle", "predictor"]


def test_phases_follow_each_other_to_the_last_step() -> None:
    ends = phase_ends(1000, phase_shares())
    assert list(ends) == ["full", "elastic", "joint", "settle"]
    assert sorted(ends.values()) == list(ends.values())
    assert ends["settle"] == 1000
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert sum(STANDING_SHARES.values()) == pytest.approx(1.0)
    assert phase_ends(1000, phase_shares(stands=True))["full"] > ends["full"]
    without = phase_ends(1000, phase_shares(without=frozenset({"elastic"})))
    assert ends["full"] < without["full"] == without["elastic"] < without["settle"] == 1000


def test_a_run_ends_in_a_checkpoint_that_can_be_asked(tmp_path: Path) -> None:
    steps = list(train(small_setup(tmp_path / "work")))
    trained = steps[-1]
    assert isinstance(trained, Trained)
    progress = [step for step in steps[:-1] if isinstance(step, Progress)]
    assert list(dict.fromkeys(step.phase for step in progress)) == WORK
    assert [step.step for step in progress if step.phase in SHARES] == list(range(1, 31))
    assert all(step.step <= step.total for step in progress)
    assert trained.assembler.affinity.abs().max() > 0.1
    source = DataSource(name="stripes", licence="MIT", credit="")
    card = publish(
        small_setup(tmp_path), trained, Publication("stripes", source, "train"), tmp_path / "stripes"
    )
    assert load_card(tmp_path / "stripes") == card
    page = ElementTree.parse(tmp_path / "stripes" / "look.html")
    assert "look.html" not in card.files
    right = sum(int(row[1].text or "") for row in page.findall(".//section[@id='worst']//tbody/tr"))
    assert right / 60 == card.figures.dense_accuracy
    assert 0.0 <= card.figures.predictor_error <= 1.0
    assert card.figures.predictor_pairs == 4
    checkpoint = load_checkpoint(tmp_path / "stripes")
    assert len(checkpoint.calibration) == 120
    estimator = Estimator(tmp_path / "stripes", card)
    task = Task(kind=Kind.CLASSIFICATION, classes=("ant", "fox"), other=True)
    assert 0.0 < estimator.accuracy(task, (1, 1, 1)) <= 1.0


def test_a_stopped_run_is_continued_with_its_assembler(tmp_path: Path, whole: Trained) -> None:
    steps = train(small_setup(tmp_path / "work"))
    for step in steps:
        if isinstance(step, Progress) and step.step == 28:
            break
    steps.close()
    state = torch.load(tmp_path / "work" / "run.pt", weights_only=True)
    assert 0 < state["step"] <= 28
    again = list(train(small_setup(tmp_path / "work")))
    assert isinstance(again[0], Progress)
    assert again[0].step == state["step"] + 1
    assert isinstance(again[-1], Trained)
    assert torch.allclose(again[-1].assembler.affinity, whole.assembler.affinity, atol=1e-4)
    for name, tensor in whole.supernet.state_dict().items():
        assert torch.allclose(again[-1].supernet.state_dict()[name], tensor, atol=1e-4), name


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    trained = list(train(small_setup(tmp_path, processes=2)))[-1]
    assert isinstance(trained, Trained)
    assert not torch.equal(trained.supernet.head.weight, torch.zeros_like(trained.supernet.head.weight))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    trained = list(train(small_setup(tmp_path_factory.mktemp("whole"))))[-1]
    assert isinstance(trained, Trained)
    return trained


def test_a_run_from_a_published_network_starts_with_its_weights_and_a_head_for_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    split = Split(draw.integers(0, 256, (24, 3, 32, 32), np.uint8), np.arange(24) % 6)
    setup = small_setup(tmp_path, data=DataSet("noise", CLASSES, split, split, split), backbone=LITE0.name)
    setup = replace(setup, architecture=LITE0.design(side_px=32))
    setup = replace(setup, recipe=replace(setup.recipe, epochs=10, learning_rate=1e-5))
    steps = train(setup)
    assert next(steps).step == 1
    steps.close()
    plain = Supernet(setup.architecture, len(CLASSES))
    settle(
        plain,
        grow(plain, LITE0),
        as_batch(split.balanced(100, setup.recipe.seed).images, torch.device("cpu")),
    )
    start_head(plain, split)
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)["supernet"]
    for name, value in plain.state_dict().items():
        # A fit amplifies rounding.
        off = float((state[name] - value).norm() / value.norm().clamp(min=1e-3))
        assert off < (2e-2 if name.startswith("head.") else 1e-3), (name, off)
    assert setup.fingerprint != replace(setup, backbone=None).fingerprint


def test_a_run_whose_full_net_stands_goes_on_with_it_when_it_was_stopped(tmp_path: Path) -> None:
    def setup(work: Path) -> Setup:
        short = short_setup(work)
        return replace(short, recipe=replace(short.recipe, epochs=4, stands=True))

    steps = train(setup(tmp_path / "stopped"))
    ends = phase_ends(20, phase_shares(stands=True))
    for step in steps:
        if isinstance(step, Progress) and step.step == ends["full"] + 2:
            break
    steps.close()
    state = torch.load(tmp_path / "stopped" / STATE_FILE, weights_only=True)
    assert not torch.equal(state["companions"]["teacher"]["stem.weight"], state["supernet"]["stem.weight"])
    again = list(train(setup(tmp_path / "stopped")))[-1]
    unbroken = list(train(setup(tmp_path / "unbroken")))[-1]
    assert isinstance(again, Trained)
    assert isinstance(unbroken, Trained)
    for name, tensor in unbroken.supernet.state_dict().items():
        assert torch.allclose(again.supernet.state_dict()[name], tensor, atol=1e-4), name
