"""Bound: how much value the blocks still open can add at most, under one sum limit.

Costs are rounded down to whole parts of the limit, so that the answer is never too low. One pass from the
last block to the first answers for every block and every remaining limit. Legend: L blocks, S questions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PARTS = 8192


class Bound:
    """The best total value of blocks l, l+1, ..., L-1 whose costs sum to at most a remaining limit."""

    def __init__(self, values: Sequence[Floats], costs: Sequence[Floats], limit: float) -> None:
        """Fill the table.

        Args:
            values: of every block's choices, any order; at least one choice a block costs nothing.
            costs: of the same choices, >= 0.
            limit: the largest remaining limit that will be asked for, > 0.
        """
        self._part = limit / PARTS
        best = np.zeros(PARTS + 1)
        self._tables = [best]
        for value, cost in zip(reversed(values), reversed(costs), strict=True):
            # A hair is taken off before rounding down: a sum of whole parts must not be lost to a last digit.
            parts = np.minimum(cost / self._part * (1 - 1e-12), PARTS + 1).astype(np.int64)
            filled = np.full(PARTS + 1, -np.inf)
            for gain, shift in zip(value.tolist(), parts.tolist(), strict=True):
                if shift <= PARTS:
                    tail = filled[shift:]
                    np.maximum(tail, best[: PARTS + 1 - shift] + gain, out=tail)
            self._tables.append(best := filled)
        self._tables.reverse()

    def at(self, block: int, left: Floats) -> Floats:
        """Return the most that blocks from ``block`` on can add while costing at most ``left``, S numbers."""
        parts = np.clip(left / self._part * (1 + 1e-12), 0, PARTS).astype(np.int64)
        return self._tables[block][parts]
