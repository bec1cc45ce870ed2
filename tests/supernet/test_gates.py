"""Laws of gates."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from supernet.gates import Gates, full_gates, prefix_gates
from tests.shapes import SMALL

some_gates = st.tuples(
    *(st.sets(st.integers(0, block.modules - 1)).map(lambda s: tuple(sorted(s))) for block in SMALL.blocks)
).map(Gates)


@given(some_gates)
def test_the_vector_says_which_modules_are_on(gates: Gates) -> None:
    vector = gates.vector(SMALL)
    assert vector.shape == (sum(block.modules for block in SMALL.blocks),)
    assert vector.sum() == gates.size == sum(gates.counts)
    ends = np.cumsum([block.modules for block in SMALL.blocks])[:-1]
    for part, active in zip(np.split(vector, ends), gates.active, strict=True):
        assert tuple(np.flatnonzero(part)) == active


@given(some_gates, some_gates)
def test_overlap_is_symmetric_and_one_only_for_equals(one: Gates, other: Gates) -> None:
    assert one.overlap(other) == other.overlap(one)
    assert 0.0 <= one.overlap(other) <= 1.0
    assert (one.overlap(other) == 1.0) == (one == other)


def test_full_gates_switch_every_module_on() -> None:
    assert full_gates(SMALL) == prefix_gates(tuple(block.modules for block in SMALL.blocks))
    assert full_gates(SMALL).vector(SMALL).min() == 1.0
