import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.fit import (
    LEAST_MARGIN,
    believable,
    fit_latency,
    fit_memory,
    left_out_errors,
    mape_of,
    margin_of,
    nonnegative,
    within_tenth,
)

TABLE = [[0.0, 0.3, 0.5], [0.2, 0.3, 0.9, 1.3]]
COUNTS = [(0, 0), (1, 0), (2, 1), (0, 3), (2, 3), (1, 2)]


def sums(table: list[list[float]]) -> np.ndarray:
    return np.array([table[0][a] + table[1][b] for a, b in COUNTS])


def test_latency_without_noise_is_found_exactly() -> None:
    fit = fit_latency(TABLE, COUNTS, 1.2 * sums(TABLE) + 0.7)
    assert fit.scale == pytest.approx(1.2)
    # What block 1 has without modules is always on, and so in the offset.
    assert fit.table[1] == pytest.approx((0.0, 0.1, 0.7, 1.1))
    assert fit.offset_ms == pytest.approx(0.7 + 1.2 * 0.2)
    assert fit.predict_ms((2, 3)) == pytest.approx(1.2 * 1.8 + 0.7)


def test_a_row_that_falls_by_noise_is_flattened() -> None:
    fit = fit_latency([[0.0, 0.3, 0.2], [0.0, -0.1, 0.4, 0.4]], COUNTS, sums(TABLE) + 1)
    assert fit.table == ((0.0, 0.3, 0.3), (0.0, 0.0, 0.4, 0.4))


def test_a_table_is_believed_as_far_as_another_machine_makes_it_likely() -> None:
    expected = [[2 * value for value in row] for row in TABLE]
    measured = sums(TABLE) + 1
    assert believable(TABLE, expected, COUNTS, measured) == [
        pytest.approx([value - row[0] for value in row]) for row in TABLE
    ]
    free = believable([[0.0, 0.0, 0.0], TABLE[1]], expected, COUNTS, measured)
    assert free[0] == pytest.approx([0.0, 0.1, 0.5 / 3])
    dear = believable([[0.0, 2.0, 2.0], TABLE[1]], expected, COUNTS, measured)
    assert dear[0] == pytest.approx([0.0, 0.9, 1.5])


@given(st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7), st.integers(0, 2**32 - 1))
def test_whatever_was_timed_a_believed_row_never_falls_and_no_module_is_free(
    noise: list[float], seed: int
) -> None:
    table = [[0.0, *noise[:2]], [noise[2], *noise[3:6]]]
    measured = np.random.default_rng(seed).uniform(0.5, 1.5, len(COUNTS)) * (sums(TABLE) + 1)
    found = believable(table, TABLE, COUNTS, measured)
    assert all(np.diff(row).min() >= 0 for row in found)
    scale, _ = nonnegative(np.stack([sums(TABLE), np.ones(len(COUNTS))], axis=1), measured)
    assert (scale == 0) or all(row[-1] > 0 for row in found)


def test_memory_without_noise_is_found_exactly() -> None:
    sizes, peaks = [50_000, 400_000, 1_000_000, 200_000, 700_000], [10_000, 30_000, 200_000, 90_000, 20_000]
    measured = 1.5 + 3 * np.array(sizes) / 1e6 + 2 * np.array(peaks) / 1e6
    fit, errors = fit_memory(sizes, peaks, measured)
    assert (fit.base_mb, fit.per_size, fit.per_activation) == pytest.approx((1.5, 3, 2))
    assert fit.margin == LEAST_MARGIN
    assert fit.predict_mb(300_000, 50_000) == pytest.approx(1.5 + 0.9 + 0.1)
    assert np.abs(errors).max() < 1e-9


def test_memory_that_falls_with_activations_is_not_believed() -> None:
    sizes, peaks = [50_000, 400_000, 1_000_000, 200_000], [90_000, 80_000, 10_000, 20_000]
    measured = 2 + 3 * np.array(sizes) / 1e6 - 5 * np.array(peaks) / 1e6
    fit, errors = fit_memory(sizes, peaks, measured)
    assert fit.per_activation == 0
    assert fit.margin == margin_of(errors)


@given(
    facts=st.lists(st.tuples(*[st.floats(0.1, 10)] * 3), min_size=4, max_size=8),
    true=st.tuples(*[st.floats(-1, 3)] * 3),
)
def test_no_numbers_near_by_fit_better(facts: list[tuple[float, ...]], true: tuple[float, ...]) -> None:
    x = np.array(facts)
    measured = np.maximum(x @ np.array(true), 0.05)
    found = np.array(nonnegative(x, measured))

    def error(numbers: np.ndarray) -> float:
        return float(((x @ numbers / measured - 1) ** 2).sum())

    assert (found >= 0).all()
    for step in np.vstack([np.eye(3), -np.eye(3)]) * 1e-3:
        other = np.maximum(found + step, 0)
        assert error(found) <= error(other) * (1 + 1e-6) + 1e-9


def test_an_outlier_is_foretold_by_the_others_alone() -> None:
    facts = np.ones((5, 1))
    errors = left_out_errors(facts, np.array([1.0, 1.0, 1.0, 1.0, 2.0]))
    assert errors[-1] == pytest.approx(1.0)


def test_figures_of_errors() -> None:
    errors = np.array([-0.3, -0.1, 0.0, 0.04, 0.1])
    assert mape_of(errors) == pytest.approx(0.108)
    assert within_tenth(errors) == pytest.approx(0.8)
    assert 0.04 < margin_of(errors) <= 0.1
    assert margin_of(np.array([-0.2, -0.1])) == LEAST_MARGIN
