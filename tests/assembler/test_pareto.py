"""A front is true: no point is dominated, and a check of its figures is met by a model that is as accurate."""

import json
import subprocess
import sys
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.device import Profile
from assembler.estimate import estimate
from assembler.nominal import nominal_profile
from assembler.pareto import Front, front
from assembler.propose import Estimator
from assembler.scenario import Survey, parse_scenario, parse_survey
from service.zoo import shipped_zoo
from supernet.card import load_card
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_supernet


def careful(profile: Profile, latency: float = 0.04, memory: float = 0.05, shrunk: float = 0.02) -> Profile:
    """Return a profile that is not sure of what it foretells."""
    return profile.model_copy(
        update={
            "latency": profile.latency.model_copy(update={"margin": latency}),
            "memory": profile.memory.model_copy(update={"margin": memory}),
            "shrunk": tuple(
                fit.model_copy(update={"latency": fit.latency.model_copy(update={"margin": shrunk})})
                for fit in profile.shrunk
            ),
        }
    )


PROFILE = careful(nominal_profile(SMALL))


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Estimator:
    folder = tmp_path_factory.mktemp("zoo") / "small"
    small_checkpoint(folder, small_supernet())
    return Estimator(folder, load_card(folder))


@lru_cache
def shipped(name: str) -> tuple[Estimator, Profile]:
    folder = shipped_zoo() / name
    card = load_card(folder)
    return Estimator(folder, card), careful(nominal_profile(card.architecture))


def asked(classes: tuple[str, ...], other: bool = False, **limits: float) -> dict[str, Any]:
    return {"task": {"kind": "classification", "classes": classes, "other": other}, "limits": limits}


def survey(classes: tuple[str, ...], other: bool = False, **limits: float) -> Survey:
    return parse_survey(json.dumps(asked(classes, other, **limits)).encode())


def found(wanted: Survey, estimator: Estimator, profile: Profile) -> Front:
    return front(wanted, estimator.card, estimator, profile).within(wanted.limits)


def assert_true(seen: Front) -> None:
    figures = [point.predicted for point in seen.points]
    assert all(a.latency_ms < b.latency_ms and a.accuracy < b.accuracy for a, b in pairwise(figures))
    assert not [
        (a, b)
        for a in figures
        for b in figures
        if a is not b
        and a.accuracy >= b.accuracy
        and all(getattr(a, name) <= getattr(b, name) for name in ("latency_ms", "memory_mb", "size_mb"))
    ]
    for point in seen.points:
        share = point.predicted.latency_ms / seen.dense.latency_ms
        assert point.latency_share == pytest.approx(share, abs=1e-4)


def assert_checked(seen: Front, estimator: Estimator, profile: Profile) -> None:
    for point in seen.points:
        own = {"latency_ms": point.predicted.latency_ms}
        for limits in (point.limits, own if len(point.limits) == 1 else point.limits):
            body = asked(seen.task.classes, seen.task.other, **limits)
            answer = estimate(parse_scenario(json.dumps(body).encode()), estimator.card, estimator, profile)
            assert answer.feasible, (point, answer)
            assert answer.predicted is not None
            assert answer.predicted.accuracy >= point.predicted.accuracy
            assert answer.predicted.latency_ms <= point.predicted.latency_ms


@settings(max_examples=15)
@given(
    classes=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=5, unique=True),
    other=st.booleans(),
    memory_mb=st.none() | st.floats(0.01, 0.5),
    size_mb=st.none() | st.floats(0.005, 0.2),
)
def test_a_front_is_true_and_every_point_of_it_can_be_asked_for(
    estimator: Estimator,
    classes: list[str],
    other: bool,
    memory_mb: float | None,
    size_mb: float | None,
) -> None:
    bounds = {"memory_mb": memory_mb, "size_mb": size_mb}
    limits = {name: value for name, value in bounds.items() if value is not None}
    seen = found(survey(tuple(classes), other, **limits), estimator, PROFILE)
    assert_true(seen)
    assert_checked(seen, estimator, PROFILE)
    assert all(getattr(p.predicted, name) <= value for p in seen.points for name, value in limits.items())
    assert all(p.limits.items() >= limits.items() for p in seen.points)


@pytest.mark.parametrize(
    ("name", "classes", "other"),
    [
        ("fashion", ("Sneaker", "Bag"), False),
        ("fashion", ("Shirt", "Coat", "Pullover", "Dress"), True),
        ("fashion", ("Bag",), True),
        ("cifar100", ("fish", "bus", "rose"), False),
        ("trashnet", ("glass", "metal", "paper"), False),
    ],
)
def test_shipped_supernets_have_fronts_that_are_true(
    name: str, classes: tuple[str, ...], other: bool
) -> None:
    estimator, profile = shipped(name)
    seen = found(survey(classes, other), estimator, profile)
    assert len(seen.points) >= 5
    assert_true(seen)
    assert_checked(seen, estimator, profile)


def test_bounds_leave_out_what_does_not_keep_to_them() -> None:
    estimator, profile = shipped("fashion")
    whole = found(survey(("Bag", "Coat", "Shirt")), estimator, profile)
    middle = whole.points[len(whole.points) // 2].predicted
    bounds = {"latency_ms": middle.latency_ms, "accuracy_min": whole.points[2].predicted.accuracy}
    part = found(survey(("Bag", "Coat", "Shirt"), **bounds), estimator, profile)
    assert [point.predicted for point in part.points] == [
        point.predicted for point in whole.points[2 : len(whole.points) // 2 + 1]
    ]
    last = part.points[-1]
    assert last.limits == {**bounds, "latency_ms": last.predicted.latency_ms}
    assert part.dense == whole.dense


def test_bounds_that_nothing_keeps_to_give_a_front_without_points(estimator: Estimator) -> None:
    for bounds in ({"latency_ms": 1e-6}, {"memory_mb": 1e-6}, {"size_mb": 1e-6}, {"accuracy_min": 1.0}):
        assert found(survey(("ant", "bee"), **bounds), estimator, PROFILE).points == ()


def test_a_front_says_what_it_follows_from(estimator: Estimator) -> None:
    seen = found(survey(("ant", "bee")), estimator, PROFILE)
    assert (seen.device, seen.supernet) == ("local", "small")
    assert seen.digests.supernet == f"sha256:{estimator.card.digest}"
    assert seen.digests.profile == f"sha256:{PROFILE.digest}"
    assert (seen.margins.latency_ms, seen.margins.memory_mb) == (0.04, 0.05)
    assert seen.accuracy_error == estimator.card.figures.predictor_error
    assert seen.points[-1].predicted.accuracy <= 1.0
    assert {point.side_px for point in seen.points} <= {side or 16 for side in SMALL.every_side}


def test_a_front_needs_no_torch() -> None:
    probe = "import sys, assembler.look.front; sys.exit(bool({'torch', 'PIL'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", probe], cwd=root, timeout=60).returncode == 0
