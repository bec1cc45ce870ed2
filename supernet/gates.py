"""Gates: which modules of a supernet are on, and how large the image is that they see.

Legend: L blocks, M modules of a block.
"""

from dataclasses import dataclass

from supernet.card import Architecture


@dataclass(frozen=True, slots=True)
class Gates:
    """The active modules of every block, by index, ascending; ``side`` is what the image is shrunk to, px, if it is."""

    active: tuple[tuple[int, ...], ...]
    side: int | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """How many modules of each block are on, L numbers."""
        return tuple(len(block) for block in self.active)

    @property
    def size(self) -> int:
        """How many modules are on altogether."""
        return sum(self.counts)

    def overlap(self, other: "Gates") -> float:
        """Return the Jaccard index of two sets of active modules, 1.0 when both are empty."""
        mine = {(i, m) for i, block in enumerate(self.active) for m in block}
        theirs = {(i, m) for i, block in enumerate(other.active) for m in block}
        union = mine | theirs
        return len(mine & theirs) / len(union) if union else 1.0


def full_gates(architecture: Architecture) -> Gates:
    """Return the gates of the dense net: every module on."""
    return Gates(tuple(tuple(range(block.modules)) for block in architecture.blocks))


def prefix_gates(counts: tuple[int, ...], side: int | None = None) -> Gates:
    """Return gates with the first ``counts[l]`` modules of each block l on."""
    return Gates(tuple(tuple(range(n)) for n in counts), side)
