"""How much work fits into the time allowed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.effort import (
    EFFORT_FILE,
    LEAST,
    MOST,
    Chosen,
    Effort,
    Pace,
    batch_for,
    choose,
    keep,
    kept,
    seconds_of,
    within,
)
from supernet.data import DataSet
from supernet.errors import RunUnusable
from supernet.train import Recipe
from tests.shapes import SMALL
from tests.small import CLASSES, small_images

PACE = Pace(full_step_s=1.0, sandwich_step_s=2.0, look_s=0.01)


def allotted(seconds: float, pace: Pace = PACE, processes: int = 2) -> tuple[float, Effort]:
    return within(
        seconds,
        pace,
        images=350,
        stored=400,
        classes=10,
        blocks=15,
        batch=32,
        alone=0.25,
        processes=processes,
        published=True,
    )


def amounts(effort: Effort) -> list[int]:
    return [
        effort.networks,
        effort.saliency_images,
        effort.rungs,
        *effort.ladder_images,
        effort.pairs,
    ]


@given(st.floats(1.0, 1e5), st.floats(1.0, 3.0))
def test_more_time_never_means_less_work(seconds: float, more: float) -> None:
    (epochs, effort), (longer, larger) = allotted(seconds), allotted(seconds * more)
    assert epochs <= longer + 1e-9 or effort != larger
    assert effort.pairs <= larger.pairs
    assert effort.rungs <= larger.rungs
    assert effort.networks <= larger.networks
    for least, mine, most in zip(amounts(LEAST), amounts(effort), amounts(MOST), strict=True):
        assert least <= mine <= most


def test_all_work_together_takes_most_of_the_time_and_not_more() -> None:
    epochs, effort = allotted(600.0, processes=1)
    steps = epochs * 350 / 32
    tries = effort.rungs * 16 * sum(effort.ladder_images)
    models = (0.3 * (128 + 200) + 15) * effort.pairs
    networks = effort.networks * (0.3 * 128 + 0.9 * 10 * effort.saliency_images)
    looks = 0.5 * tries + networks + models + 350
    assert 480 < steps * 1.75 + 0.01 * looks < 600


def test_a_time_that_is_too_short_leaves_no_epochs() -> None:
    assert allotted(20.0)[0] == 0.0


def test_a_quicker_machine_trains_for_more_epochs() -> None:
    assert allotted(600.0, Pace(0.5, 1.0, 0.005))[0] > 1.5 * allotted(600.0)[0]


@pytest.mark.parametrize(("images", "batch"), [(50, 32), (350, 32), (700, 64), (5000, 192), (10**6, 192)])
def test_a_step_takes_about_a_tenth_of_few_images(images: int, batch: int) -> None:
    assert batch_for(images, 192) == batch


def test_a_moment_in_which_the_machine_is_busy_does_not_count() -> None:
    def work() -> Iterator[None]:
        for pause in (1.0, 0.0, 1.0, 0.0):
            time.sleep(pause)
            yield

    assert seconds_of(work()) < 0.5


def test_what_is_chosen_follows_the_pace_of_this_machine() -> None:
    data = DataSet("stripes", CLASSES, small_images(20, 1), small_images(20, 2), small_images(10, 3))
    short, long = (
        choose(
            minutes, architecture=SMALL, data=data, recipe=Recipe(batch=64), per_class=(20, 20), alone=0.25
        )
        for minutes in (60, 600)
    )
    assert short.batch == long.batch == 32
    assert short.side_px == 16
    assert 0 < short.epochs < long.epochs


def test_what_was_chosen_is_kept_beside_the_run(tmp_path: Path) -> None:
    chosen = Chosen(20.0, 96, 32, 12.5, LEAST)
    assert kept(tmp_path / "run", 20.0) is None
    keep(chosen, tmp_path / "run")
    assert kept(tmp_path / "run", 20.0) == chosen
    with pytest.raises(RunUnusable, match="planned for 20 minutes"):
        kept(tmp_path / "run", 30.0)


@pytest.mark.parametrize("content", ["", "{}", '{"minutes": 20, "effort": {"ladder_images": 3}}', "[1]"])
def test_a_damaged_choice_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / EFFORT_FILE).write_text(content)
    with pytest.raises(RunUnusable, match="damaged"):
        kept(tmp_path, 20.0)
