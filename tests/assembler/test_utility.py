"""Utilities are positive and finite, whatever the terms."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assembler.utility import LOGARITHM_RANGE, PLACE, side_of, utilities
from tests.shapes import SMALL

terms = arrays(np.float32, 11, elements=st.floats(-1e6, 1e6, width=32))


@given(terms, terms, st.sampled_from([0.0, 0.5, 1.0]))
def test_utilities_are_positive_and_finite(base: np.ndarray, class_term: np.ndarray, weight: float) -> None:
    found = utilities(base, class_term, weight, (3, 4, 4))
    assert np.isfinite(found).all()
    assert found.min() >= np.exp(-LOGARITHM_RANGE) * 0.999
    assert found.max() <= np.exp(LOGARITHM_RANGE) * 1.001


@given(terms, terms, st.sampled_from([0.0, 0.5, 1.0]))
def test_the_task_never_changes_what_a_block_is_worth(
    base: np.ndarray, class_term: np.ndarray, weight: float
) -> None:
    alone = utilities(base, class_term, 0.0, (3, 4, 4))
    found = utilities(base, class_term, weight, (3, 4, 4))
    for part in (slice(0, 3), slice(3, 7), slice(7, 11)):
        assert sorted(found[part]) == sorted(alone[part])


def test_the_class_term_hands_the_utilities_of_a_block_to_the_modules_it_prefers() -> None:
    base, class_term = np.array([2.0, 1.0, 5.0], np.float32), np.array([-1.0, 1.0, 9.0], np.float32)
    assert utilities(base, class_term, 0.0, (2, 1)).tolist() == np.exp(base).tolist()
    assert utilities(base, class_term, 1.0, (2, 1)).tolist() == np.exp(base[[1, 0, 2]]).tolist()
    weak = class_term * PLACE / 3
    assert utilities(base, weak, 1.0, (2, 1)).tolist() == np.exp(base).tolist()


def test_sides_follow_the_modules_that_are_on() -> None:
    assert [side_of((2, 5), modules, SMALL) for modules in (0, 1, 2, 4, 5, 11)] == [8, 8, 12, 12, None, None]
    assert side_of((), 3, SMALL.model_copy(update={"sides": ()})) is None
