"""Knapsack: one choice a block, the most value, under a sum of latency, a sum of size and a memory of both.

Blocks are decided one after the other for all promising partial choices at once. Three things keep these few
without ever losing the best: one falls away when it cannot end within the limits, when the most it can still
become (``bound.py``) is less than what is already known to be possible, and when another is worth as much and
costs no more in anything.
Legend: L blocks, S partial choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from assembler.bound import Bound, Floats, Ints

# Sums of the same numbers in another order differ by less than this, relative.
ROUNDING = 1e-9
# Partial choices are compared with one another in groups of this many.
GROUP = 512
# How much of a mixed limit is latency; the rest is size.
SHARES = (0.0, 0.5, 1.0)
# How many partial choices the first, hasty walk keeps. A wider one knows a better value and so prunes more:
# where utilities are proportional to cost, tens leave hundreds of choices where one leaves tens of thousands.
BEAM = 64


@dataclass(frozen=True, slots=True)
class Choices:
    """What one block offers, or what S partial choices have added up to; arrays of S numbers.

    ``latency`` in ms of the profile's table, ``size`` in bytes, both above the net without modules; ``peak``
    of live activations in bytes; ``counts`` S x (blocks decided).
    """

    value: Floats
    latency: Floats
    size: Floats
    peak: Floats
    counts: Ints

    def __len__(self) -> int:
        return len(self.value)

    def take(self, index: npt.NDArray[np.bool_] | Ints) -> "Choices":
        """Return the choices at ``index``."""
        return Choices(*(getattr(self, field.name)[index] for field in fields(self)))

    def extend(self, block: "Choices") -> "Choices":
        """Return every partial choice with every choice of the next block."""
        counts = np.repeat(self.counts, len(block), axis=0)
        chosen = np.tile(block.counts, (len(self), 1))
        return Choices(
            (self.value[:, None] + block.value).ravel(),
            (self.latency[:, None] + block.latency).ravel(),
            (self.size[:, None] + block.size).ravel(),
            np.maximum(self.peak[:, None], block.peak).ravel(),
            np.concatenate([counts, chosen], axis=1),
        )

    def undominated(self) -> "Choices":
        """Drop choices that another one of their group equals or beats in value, latency, size and peak."""
        order = np.lexsort((self.size, self.latency, -self.value))
        kept = [order[start : start + GROUP] for start in range(0, len(order), GROUP)]
        return self.take(np.sort(np.concatenate([part[_best(self.take(part))] for part in kept])))


@dataclass(frozen=True, slots=True)
class Room:
    """The limits, as room above the net without modules; infinite where there is none.

    ``latency`` in ms of the table, ``size`` in bytes, ``memory`` in bytes; of it a byte of the file takes
    ``per_size`` and a byte of activations above ``floor`` takes ``per_activation``.
    """

    latency: float
    size: float
    memory: float
    per_size: float
    per_activation: float
    floor: float

    def size_left(self, peak: Floats) -> Floats:
        """Return by how many bytes the file may grow when activations peak at ``peak``; none if negative."""
        left = self.memory - self.per_activation * (peak - self.floor)
        # Where size takes no memory, memory allows any size or none.
        allowed = left / self.per_size if self.per_size > 0 else np.where(left >= 0, np.inf, -np.inf)
        return np.minimum(self.size, allowed)

    def holds(self, choices: Choices) -> npt.NDArray[np.bool_]:
        """Return which partial choices fit when nothing is added to them, S booleans."""
        return (choices.latency <= self.latency) & (choices.size <= self.size_left(choices.peak))


class Knapsack:
    """The blocks and the bounds on what they can still bring, for any room up to a largest one."""

    def __init__(self, blocks: Sequence[Choices], rooms: Sequence[Room]) -> None:
        """Prepare the bounds.

        Args:
            blocks: what each block offers; the choice of no module is among them.
            rooms: all that will be asked for, at least one.
        """
        self._blocks = blocks
        values = [block.value for block in blocks]
        self._rest = [float(sum(max(v) for v in values[index:])) for index in range(len(values) + 1)]
        latency = _binding([room.latency for room in rooms], sum(max(b.latency) for b in blocks))
        floors = [float(room.size_left(np.array(room.floor))) for room in rooms]
        size = _binding(floors, sum(max(b.size) for b in blocks))
        # Parts of latency and size in a mixture, which bounds better than either where both bind.
        self._mixtures: list[tuple[float, float, Bound]] = []
        for share in SHARES if latency and size else (1.0,) if latency else (0.0,) if size else ():
            x = share / latency if latency else 0.0
            y = (1 - share) / size if size else 0.0
            costs = [x * block.latency + y * block.size for block in blocks]
            self._mixtures.append((x, y, Bound(values, costs, 1.0)))

    def hasty(self, room: Room) -> Choices:
        """Return good complete choices within the room, keeping only the most promising at every block."""
        found = self._none(room)
        for index, block in enumerate(self._blocks, start=1):
            found = self._fitting(found, block, room)
            reach = self._reach(index, room, found)
            found = found.take(np.argsort(-reach, kind="stable")[:BEAM])
        return found

    def exact(self, room: Room, known: float) -> Choices:
        """Return complete choices within the room, all that are best among them.

        Args:
            room: the limits.
            known: a value that is possible within the room; the nearer to the best, the faster.
        """
        found = self._none(room)
        for index, block in enumerate(self._blocks, start=1):
            found = self._fitting(found, block, room)
            found = found.take(self._reach(index, room, found) >= known * (1 - ROUNDING)).undominated()
        return found

    def _none(self, room: Room) -> Choices:
        zero = np.zeros(1)
        return Choices(zero, zero, zero, np.array([room.floor]), np.zeros((1, 0), np.int64))

    def _fitting(self, found: Choices, block: Choices, room: Room) -> Choices:
        extended = found.extend(block)
        return extended.take(room.holds(extended))

    def _reach(self, index: int, room: Room, found: Choices) -> Floats:
        """Return the most value each partial choice can end with when blocks from ``index`` on are open."""
        most: Floats = np.full(len(found), self._rest[index])
        latency, size = room.latency - found.latency, room.size_left(found.peak) - found.size
        for x, y, bound in self._mixtures:
            # An infinite room is in no mixture, and 0 times infinity is no number.
            left = x * latency if not y else y * size if not x else x * latency + y * size
            most = np.minimum(most, bound.at(index, left))
        return found.value + most


def _binding(limits: Sequence[float], total: float) -> float:
    """Return the largest limit that can matter, or 0 where none does or next to nothing fits anyway."""
    limit = min(max(limits), total) if min(limits) < total else 0.0
    return limit if limit > total * ROUNDING else 0.0


def _best(group: Choices) -> npt.NDArray[np.bool_]:
    """Return which of a group, sorted by falling value, no earlier one equals or beats."""
    beats = np.triu(np.ones((len(group), len(group)), np.bool_), 1)
    for costs in (group.latency, group.size, group.peak):
        beats &= costs[:, None] <= costs
    return np.logical_not(beats.any(axis=0))
