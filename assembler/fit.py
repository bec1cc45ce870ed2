"""Fit: the few numbers that turn what a profile knows of a net into latency and memory, and how far to trust them.

Legend: N nets, P numbers to be found.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from assembler.device import LatencyFit, MemoryFit

Floats = npt.NDArray[np.float64]

MARGIN_PERCENTILE = 95
# A machine repeats itself no better than this.
LEAST_MARGIN = 0.02
TENTH = 0.1
# How many times more or less a block may take than on another machine of the same speed.
FARTHEST = 3.0


def fit_latency(
    table: Sequence[Sequence[float]], counts: Sequence[Sequence[int]], measured_ms: Floats
) -> LatencyFit:
    """Return the fit, still without a margin.

    Args:
        table: measured L x (M + 1), ms above the block without modules; noise is taken out where a row falls.
        counts: of N nets, modules on in each block.
        measured_ms: their latencies, N numbers.
    """
    rows = [_rising(row) for row in table]
    sums = np.array([sum(row[n] for row, n in zip(rows, net, strict=True)) for net in counts])
    scale, offset = nonnegative(np.stack([sums, np.ones_like(sums)], axis=1), measured_ms)
    return LatencyFit(
        table=tuple(tuple(row.tolist()) for row in rows), scale=scale, offset_ms=offset, margin=0.0
    )


def believable(
    table: Sequence[Sequence[float]],
    expected: Sequence[Sequence[float]],
    counts: Sequence[Sequence[int]],
    measured_ms: Floats,
) -> list[list[float]]:
    """Return a table whose entries are within a third and three times of what another one leads to expect.

    On a busy machine a few timings of blocks that take little are chance: modules that seem to be free would all be
    chosen. What is expected is scaled to the machine by all nets together.

    Args:
        table: measured L x (M + 1), ms above the block without modules.
        expected: L x (M + 1) of another machine.
        counts: of N nets, modules on in each block.
        measured_ms: their latencies, N numbers.
    """
    sums = np.array([sum(row[n] for row, n in zip(expected, net, strict=True)) for net in counts])
    scale, _ = nonnegative(np.stack([sums, np.ones_like(sums)], axis=1), measured_ms)
    rows = []
    for row, other in zip(table, expected, strict=True):
        cleaned, usual = _rising(row), _rising(other) * scale
        rows.append((np.clip(cleaned, usual / FARTHEST, usual * FARTHEST) if scale else cleaned).tolist())
    return rows


def _rising(row: Sequence[float]) -> Floats:
    """Return a row of a table from 0 on, noise taken out where it falls."""
    risen: Floats = np.maximum.accumulate(np.asarray(row, np.float64) - row[0])
    return risen


def fit_memory(
    sizes: Sequence[int], activations: Sequence[int], measured_mb: Floats
) -> tuple[MemoryFit, Floats]:
    """Return the fit and the relative errors of each net foretold by a fit of the others.

    Args:
        sizes: bytes of N files.
        activations: peaks of live bytes of the same nets.
        measured_mb: their memory, N numbers.
    """
    facts = np.stack([np.ones(len(sizes)), np.array(sizes) / 1e6, np.array(activations) / 1e6], axis=1)
    base, per_size, per_activation = nonnegative(facts, measured_mb)
    errors = left_out_errors(facts, measured_mb)
    fit = MemoryFit(base_mb=base, per_size=per_size, per_activation=per_activation, margin=margin_of(errors))
    return fit, errors


def nonnegative(facts: Floats, measured: Floats) -> list[float]:
    """Return the P numbers >= 0 whose weighted sum of facts has the least squared relative error.

    All choices of numbers that are 0 are tried, so P must be small.

    Args:
        facts: N x P.
        measured: N numbers > 0.
    """
    scaled, best, least = facts / measured[:, None], np.zeros(facts.shape[1]), np.inf
    for size in range(facts.shape[1], 0, -1):
        for used in map(list, combinations(range(facts.shape[1]), size)):
            found, *_ = np.linalg.lstsq(scaled[:, used], np.ones(len(measured)), rcond=None)
            error = float(((scaled[:, used] @ found - 1) ** 2).sum())
            if (found >= 0).all() and error < least:
                least, best = error, np.zeros(facts.shape[1])
                best[used] = found
    return [float(number) for number in best]


def left_out_errors(facts: Floats, measured: Floats) -> Floats:
    """Return (measured - foretold) / foretold of each net, foretold by a fit of all the others, N numbers."""
    errors = np.empty_like(measured)
    for i, (net, value) in enumerate(zip(facts, measured, strict=True)):
        numbers = nonnegative(np.delete(facts, i, axis=0), np.delete(measured, i))
        errors[i] = value / float(net @ numbers) - 1
    return errors


def margin_of(errors: Floats) -> float:
    """Return the share by which a prediction must be raised to hold for nearly all nets, 2 % at least."""
    return max(LEAST_MARGIN, float(np.percentile(errors, MARGIN_PERCENTILE)))


def mape_of(errors: Floats) -> float:
    """Return the mean absolute relative error."""
    return float(np.abs(errors).mean())


def within_tenth(errors: Floats) -> float:
    """Return the share of errors of at most 10 %."""
    return float((np.abs(errors) <= TENTH).mean())
