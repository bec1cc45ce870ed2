"""The head is fitted for the task it gets."""

import numpy as np
import pytest
import torch

from assembler.refit import loss_and_slope, refit_head

DRAW = np.random.default_rng(0)
LABELS = np.tile(np.arange(3), 60)
CENTRES = DRAW.normal(0, 2, (3, 10))
FEATURES = (CENTRES[LABELS] + DRAW.normal(0, 1, (180, 10))).astype(np.float32)
NOTHING = np.zeros((3, 10), np.float32), np.zeros(3, np.float32)


def accuracy(head: tuple[np.ndarray, np.ndarray]) -> float:
    return float(((FEATURES @ head[0].T + head[1]).argmax(axis=1) == LABELS).mean())


def test_a_fitted_head_separates_the_classes() -> None:
    head = refit_head(FEATURES, LABELS, *NOTHING)
    assert head[0].dtype == head[1].dtype == np.float32
    assert accuracy(head) > 0.97


def test_a_strong_pull_keeps_the_head_it_started_from() -> None:
    start = DRAW.normal(0, 1, (3, 10)).astype(np.float32), DRAW.normal(0, 1, 3).astype(np.float32)
    kept = refit_head(FEATURES, LABELS, *start, pull=1e6)
    np.testing.assert_allclose(kept[0], start[0], atol=1e-3)
    free = refit_head(FEATURES, LABELS, *start, pull=1e-4)
    assert np.abs(free[0] - start[0]).max() > 0.1


def test_fitting_twice_gives_the_same() -> None:
    first, second = (refit_head(FEATURES, LABELS, *NOTHING) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_constant_feature_does_no_harm() -> None:
    flat = FEATURES.copy()
    flat[:, 0] = 5.0
    head = refit_head(flat, LABELS, *NOTHING)
    assert np.isfinite(head[0]).all()
    assert ((flat @ head[0].T + head[1]).argmax(axis=1) == LABELS).mean() > 0.95


def test_rows_that_are_one_output_together_are_fitted_together() -> None:
    # What is neither of the classes lies on both sides of the first: one row cannot tell it, two together can.
    draw = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [-6.0, 0.0], [6.0, 0.0]])
    kinds = np.tile(np.arange(3), 60)
    features = (centres[kinds] + draw.normal(0, 0.4, (180, 2))).astype(np.float32)
    labels = np.minimum(kinds, 1)
    start = draw.normal(0, 0.1, (3, 2)).astype(np.float32), np.zeros(3, np.float32)
    weight, bias = refit_head(features, labels, *start, of=(0, 1, 1))
    logits = features @ weight.T + bias
    merged = np.stack([logits[:, 0], np.logaddexp(logits[:, 1], logits[:, 2])], axis=1)
    assert (merged.argmax(axis=1) == labels).mean() > 0.97
    alone = refit_head(features, labels, start[0][:2], start[1][:2])
    assert ((features @ alone[0].T + alone[1]).argmax(axis=1) == labels).mean() < 0.8


@pytest.mark.parametrize("of", [None, (0, 1, 1, 1, 1), (0, 0, 1, 2, 2)])
def test_the_slope_is_the_derivative_of_the_loss(of: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    logits = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(12) % (5 if of is None else max(of) + 1)
    merged = logits
    if of is not None:
        members = (torch.tensor(of) == output for output in range(max(of) + 1))
        merged = torch.stack([logits[:, rows].logsumexp(dim=1) for rows in members], dim=1)
    expected = torch.nn.functional.cross_entropy(merged, labels)
    (slope,) = torch.autograd.grad(expected, logits)
    value, found = loss_and_slope(logits.detach(), labels, of)
    assert torch.allclose(value, expected.detach())
    assert torch.allclose(found, slope, atol=1e-12)
