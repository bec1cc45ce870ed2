"""Utilities: how useful every module is to a task within a budget; shared by training and serving, without torch."""

import numpy as np
import numpy.typing as npt

# The smallest share of the dense net's cost that the assembler tells apart.
SMALLEST_BUDGET = 0.02
# Logarithms of utilities are kept within plus and minus this.
LOGARITHM_RANGE = 6.0
# Weights of the class term: every one gives a candidate.
PORTFOLIO = (0.0, 0.5, 1.0)

Array = npt.NDArray[np.float32]


def utilities(base: Array, class_term: Array, weight: float) -> Array:
    """Return positive utilities: exp(budget term + weight x class term), kept in a finite range.

    Args:
        base: the budget term, any shape.
        class_term: of the same shape.
        weight: of the class term.
    """
    logarithm = np.clip(base + weight * class_term, -LOGARITHM_RANGE, LOGARITHM_RANGE)
    found: Array = np.exp(logarithm)
    return found
