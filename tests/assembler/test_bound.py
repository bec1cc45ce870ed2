import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assembler.bound import PARTS, Bound

numbers = st.floats(0, 10)
block = st.lists(st.tuples(numbers, numbers), max_size=3).map(lambda rows: [(0.0, 0.0), *rows])


@given(
    blocks=st.lists(block, min_size=1, max_size=4),
    limit=st.floats(0.01, 40),
    part=st.floats(0, 1),
    data=st.data(),
)
def test_a_bound_is_never_below_what_is_possible_and_hardly_above(
    blocks: list[list[tuple[float, float]]], limit: float, part: float, data: st.DataObject
) -> None:
    values = [np.array([value for value, _ in rows]) for rows in blocks]
    costs = [np.array([cost for _, cost in rows]) for rows in blocks]
    start = data.draw(st.integers(0, len(blocks)))

    def best(left: float) -> float:
        every = itertools.product(*blocks[start:])
        return max(sum(v for v, _ in chosen) for chosen in every if sum(c for _, c in chosen) <= left)

    told = Bound(values, costs, limit).at(start, np.array([limit * part]))[0]
    assert told >= best(limit * part) - 1e-9
    # Each block's cost is rounded down by less than a part, the remaining limit by less than another.
    assert told <= best(limit * part + (len(blocks) + 1) * limit / PARTS) + 1e-9


def test_nothing_is_left_to_add_after_the_last_block() -> None:
    bound = Bound([np.array([0.0, 5.0])], [np.array([0.0, 1.0])], 1.0)
    assert bound.at(1, np.array([0.0, 1.0])).tolist() == [0.0, 0.0]
    assert bound.at(0, np.array([0.0, 0.99, 1.0])).tolist() == [0.0, 0.0, 5.0]
