"""Laws of gates."""

from hypothesis import given
from hypothesis import strategies as st

from supernet.gates import Gates, full_gates, prefix_gates
from tests.shapes import SMALL

some_modules = st.tuples(
    *(st.sets(st.integers(0, block.modules - 1)).map(lambda s: tuple(sorted(s))) for block in SMALL.blocks)
)
some_gates = st.builds(Gates, some_modules, st.sampled_from([None, *SMALL.sides]))


@given(some_gates, some_gates)
def test_overlap_is_symmetric_and_one_only_for_equals(one: Gates, other: Gates) -> None:
    assert one.overlap(other) == other.overlap(one)
    assert 0.0 <= one.overlap(other) <= 1.0
    assert (one.overlap(other) == 1.0) == (one.active == other.active)


def test_full_gates_switch_every_module_on() -> None:
    assert full_gates(SMALL) == prefix_gates(tuple(block.modules for block in SMALL.blocks))
    assert full_gates(SMALL).size == 11
