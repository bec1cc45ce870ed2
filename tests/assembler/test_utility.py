"""Utilities are positive and finite, whatever the terms."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assembler.utility import LOGARITHM_RANGE, utilities

terms = arrays(np.float32, 11, elements=st.floats(-1e6, 1e6, width=32))


@given(terms, terms, st.sampled_from([0.0, 0.5, 1.0]))
def test_utilities_are_positive_and_finite(base: np.ndarray, class_term: np.ndarray, weight: float) -> None:
    found = utilities(base, class_term, weight)
    assert np.isfinite(found).all()
    assert found.min() >= np.exp(-LOGARITHM_RANGE) * 0.999
    assert found.max() <= np.exp(LOGARITHM_RANGE) * 1.001


def test_the_class_term_counts_by_its_weight() -> None:
    base, class_term = np.zeros(2, np.float32), np.array([1.0, -1.0], np.float32)
    assert utilities(base, class_term, 0.0).tolist() == [1.0, 1.0]
    np.testing.assert_allclose(utilities(base, class_term, 0.5), np.exp([0.5, -0.5]), rtol=1e-6)
