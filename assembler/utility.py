"""Utilities: how useful every module is to a task within a budget; shared by training and serving, without torch.

How many modules a block gets follows the budget alone, which of them the task.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supernet.card import Architecture

# The smallest share of the dense net's cost that the assembler tells apart.
SMALLEST_BUDGET = 0.02
# Logarithms of utilities are kept within plus and minus this.
LOGARITHM_RANGE = 15.0
# What a place in its block is worth to a module, in units of the class term.
PLACE = 0.25
# Weights of the class term: every one gives a candidate.
PORTFOLIO = (0.0, 0.5, 1.0)

Array = npt.NDArray[np.float32]


def utilities(base: Array, class_term: Array, weight: float, modules: Sequence[int]) -> Array:
    """Return positive utilities, kept in a finite range.

    Those of a block are exp(budget term), handed to its modules in the order of class term and place: at weight 0
    the first ones get most, and the more weight the more a module that the classes need gets of an earlier one's.

    Args:
        base: the budget term, M numbers.
        class_term: M numbers.
        weight: of the class term.
        modules: how many each block has, M in total.
    """
    found = np.empty(len(base), np.float32)
    start = 0
    for count in modules:
        part = slice(start, start + count)
        by_budget = np.argsort(-base[part], kind="stable")
        place = np.empty(count, np.float32)
        place[by_budget] = -PLACE * np.arange(count)
        order = np.argsort(-(place + weight * class_term[part]), kind="stable")
        found[part][order] = np.exp(np.clip(base[part][by_budget], -LOGARITHM_RANGE, LOGARITHM_RANGE))
        start += count
    return found


def shares_of(architecture: Architecture, counts: Sequence[int], side: int | None) -> list[float]:
    """Return what the predictor knows of a model's size: the share of each block's modules that are on.

    That of the image's side stands last where the architecture has a choice of sides.

    Args:
        architecture: of the supernet, L blocks.
        counts: modules on, L numbers.
        side: what the image is shrunk to, px; None leaves it.
    """
    shares = [n / block.modules for n, block in zip(counts, architecture.blocks, strict=True)]
    whole = architecture.input.height
    return [*shares, (side or whole) / whole] if architecture.sides else shares


def side_of(raises: Sequence[int], modules: int, architecture: Architecture) -> int | None:
    """Return the side that the image has on the ladder when so many modules are on, None for the whole image.

    Args:
        raises: how many modules are on when the image grows, for every smaller side, the smallest first.
        modules: on in all blocks together.
        architecture: of the supernet.
    """
    return architecture.every_side[-1 - sum(modules >= count for count in raises)]
