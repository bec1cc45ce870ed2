"""Plan: which nets are measured to know a device, and what their latencies say of each block.

Legend: L blocks, M modules of a block. Counts are modules on in each block, L numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supernet.card import Architecture
from supernet.gates import full_gates

Counts = tuple[int, ...]

# In a block of more modules some counts are measured; those between follow a straight line.
MOST_COUNTS = 9
FITTED_NETS = 16
TRIED_NETS = 12
DRAWS = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """The nets to measure.

    ``counts[l]`` are the counts of block l that are measured, ascending from 0 to M, every other block being
    at the ``reference``. ``fitted`` are random nets that scale the sum over blocks; ``tried``, which the fit never
    sees, show how well nets are foretold.
    """

    counts: tuple[tuple[int, ...], ...]
    reference: Counts
    fitted: tuple[Counts, ...]
    tried: tuple[Counts, ...]

    @property
    def nets(self) -> tuple[Counts, ...]:
        """All nets that are timed in turns, the reference first, those fitted last."""
        changed = [
            (*self.reference[:block], n, *self.reference[block + 1 :])
            for block, counts in enumerate(self.counts)
            for n in counts
            if n != self.reference[block]
        ]
        return (self.reference, *changed, *self.fitted)

    def table(self, latencies: Sequence[float]) -> list[list[float]]:
        """Return what every block adds to the reference with 0..M modules on, in the unit of ``latencies``.

        Args:
            latencies: of ``nets``, in their order.
        """
        base, *rest = latencies
        changed = iter(rest)
        rows = []
        for block, counts in enumerate(self.counts):
            found = [0.0 if n == self.reference[block] else next(changed) - base for n in counts]
            rows.append([float(v) for v in np.interp(range(counts[-1] + 1), counts, found)])
        return rows


def make_plan(architecture: Architecture, seed: int, share: float = 1.0) -> Plan:
    """Return the plan for a supernet.

    Args:
        architecture: its sizes.
        seed: chooses the random nets.
        share: how many nets there are, as a share of the usual number.
    """
    draw = np.random.default_rng(seed)
    most = round(share * MOST_COUNTS)
    fitted, tried = (max(3, round(share * number)) for number in (FITTED_NETS, TRIED_NETS))
    counts = tuple(_measured_counts(block.modules, most) for block in architecture.blocks)
    ends = (tuple(0 for _ in architecture.blocks), full_gates(architecture).counts)
    drawn = dict.fromkeys(random_counts(architecture, draw) for _ in range(DRAWS))
    nets = tuple(net for net in drawn if net not in ends)
    return Plan(
        counts=counts,
        reference=tuple(row[len(row) // 2] for row in counts),
        # Without any module a net takes so little that a small error is a large share of it. A supernet of a single
        # module has no net between its ends.
        fitted=(ends[0], *(nets[:fitted] or ends[1:])),
        tried=(ends[1], *nets[fitted : fitted + tried - 1]),
    )


def random_counts(architecture: Architecture, draw: np.random.Generator) -> Counts:
    """Return random counts, from hardly any module to nearly all with equal chance."""
    share = draw.random()
    return tuple(int(draw.binomial(block.modules, share)) for block in architecture.blocks)


def _measured_counts(modules: int, most: int) -> tuple[int, ...]:
    """Return none, one and all modules and some counts between, at most ``most``, at least as many as these are."""
    # The first module starts the operators of a block, and costs more than any that follows.
    steps: npt.NDArray[np.float64] = np.linspace(1, modules, max(1, min(modules, most - 1)))
    return tuple(sorted({0, 1, modules, *(int(n) for n in steps.round())}))
