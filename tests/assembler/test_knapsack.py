import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.knapsack import GROUP, Choices, Knapsack, Room

numbers = st.integers(0, 400).map(lambda n: n / 100)


def choices(rows: list[tuple[float, float, float, float]]) -> Choices:
    value, latency, size, peak = np.array(rows, np.float64).T
    return Choices(value, latency, size, peak, np.arange(len(rows))[:, None])


@st.composite
def blocks_of(draw: st.DrawFn) -> list[Choices]:
    row = st.tuples(numbers, numbers, numbers, numbers)
    return [
        choices([(0.0, 0.0, 0.0, 0.0), *draw(st.lists(row, max_size=4))])
        for _ in range(draw(st.integers(1, 4)))
    ]


@st.composite
def rooms(draw: st.DrawFn) -> Room:
    limit = st.integers(0, 1000).map(lambda n: n / 100) | st.just(np.inf)
    price = st.sampled_from([0.0, 0.5, 2.0])
    return Room(draw(limit), draw(limit), draw(limit), draw(price), draw(price), floor=0.5)


@given(blocks=blocks_of(), room=rooms())
def test_the_exact_walk_ends_with_the_best_there_is(blocks: list[Choices], room: Room) -> None:
    every = Choices(*(np.array([x]) for x in (0.0, 0.0, 0.0, room.floor)), np.zeros((1, 0), np.int64))
    for block in blocks:
        every = every.extend(block)
    best = every.take(room.holds(every)).value.max()
    knapsack = Knapsack(blocks, [room])
    assert knapsack.exact(room, 0.0).value.max() == pytest.approx(best)
    assert knapsack.exact(room, best).value.max() == pytest.approx(best)


@given(blocks=blocks_of(), room=rooms())
def test_the_hasty_walk_stays_within_the_room(blocks: list[Choices], room: Room) -> None:
    found = Knapsack(blocks, [room]).hasty(room)
    assert len(found) >= 1
    assert room.holds(found).all()
    assert found.counts.shape == (len(found), len(blocks))


@given(blocks=blocks_of(), tight=rooms(), loose=rooms())
def test_bounds_prepared_for_several_rooms_serve_each(
    blocks: list[Choices], tight: Room, loose: Room
) -> None:
    shared = Knapsack(blocks, [tight, loose])
    for room in (tight, loose):
        alone = Knapsack(blocks, [room])
        assert shared.exact(room, 0.0).value.max() == pytest.approx(alone.exact(room, 0.0).value.max())


def test_a_choice_equal_or_worse_in_everything_falls_away() -> None:
    kept = choices([(2, 2, 2, 2), (2, 2, 2, 2), (1, 2, 2, 2), (1, 1, 3, 2), (1, 2, 2, 1), (3, 9, 9, 9)])
    assert kept.undominated().counts.ravel().tolist() == [0, 3, 4, 5]


def test_many_choices_are_thinned_group_by_group() -> None:
    draw = np.random.default_rng(0)
    many = choices([tuple(row) for row in draw.random((3 * GROUP + 7, 4))])
    kept = many.undominated()
    costs = np.stack([-many.value, many.latency, many.size, many.peak], axis=1)
    gone = np.setdiff1d(np.arange(len(many)), kept.counts.ravel())
    assert len(gone) > GROUP
    for index in gone:
        others = np.delete(costs, index, axis=0)
        assert (others <= costs[index]).all(axis=1).any()
