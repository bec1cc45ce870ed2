"""Search: the most useful modules that keep to every limit, exactly.

Within a block the n most useful modules are taken, so that a block offers M + 1 choices; what is left is a
knapsack over blocks (``knapsack.py``). Legend: L blocks, M modules of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from assembler.cost import METADATA_BYTES, Cost, activation_table, cost_of, floor_activation_bytes, size_table
from assembler.device import Profile
from assembler.knapsack import ROUNDING, Choices, Knapsack, Room
from supernet.card import Architecture
from supernet.gates import Gates

Utilities = Sequence[npt.NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class Caps:
    """What a model may cost at most; None is no limit. The profile's margins are kept below them."""

    latency_ms: float | None = None
    memory_mb: float | None = None
    size_mb: float | None = None

    def admit(self, cost: Cost, profile: Profile) -> bool:
        """Return whether a predicted Cost, raised by the profile's margins, keeps to every limit."""
        return (
            (self.latency_ms is None or cost.latency_ms * (1 + profile.latency.margin) <= self.latency_ms)
            and (self.memory_mb is None or cost.memory_mb * (1 + profile.memory.margin) <= self.memory_mb)
            and (self.size_mb is None or cost.size_mb <= self.size_mb)
        )


def search(
    utilities: Utilities,
    architecture: Architecture,
    profile: Profile,
    caps: Caps,
    classes: int,
    *,
    metadata_bytes: int = METADATA_BYTES,
) -> Gates | None:
    """Return the Gates of most summed utility within the caps.

    None means that even the net without modules exceeds one of them.
    Equal utility goes to the lower latency, then the smaller file, then the earlier modules.

    Args:
        utilities: one array (M,) a block, every number finite and >= 0.
        architecture: the supernet's sizes.
        profile: the device.
        caps: the limits.
        classes: rows of the head.
        metadata_bytes: what the file says of itself in strings.

    Raises:
        ValueError: a utility is negative or not finite.
    """
    return _Search(utilities, architecture, profile, classes, metadata_bytes).solve([caps])[0]


def front(
    utilities: Utilities,
    architecture: Architecture,
    profile: Profile,
    latencies_ms: Sequence[float],
    classes: int,
    *,
    caps: Caps = Caps(),
    metadata_bytes: int = METADATA_BYTES,
) -> tuple[Gates | None, ...]:
    """Return what ``search`` finds for each of several latency caps, under the other limits of ``caps``."""
    wanted = [replace(caps, latency_ms=latency) for latency in latencies_ms]
    return tuple(_Search(utilities, architecture, profile, classes, metadata_bytes).solve(wanted))


def most_useful(utilities: Utilities, counts: Sequence[int]) -> Gates:
    """Return the Gates with the ``counts[l]`` most useful modules of each block l on; of equals the earlier ones."""
    chosen = [np.argsort(-np.asarray(u), kind="stable")[:n] for u, n in zip(utilities, counts, strict=True)]
    return Gates(tuple(tuple(sorted(block.tolist())) for block in chosen))


def cheapest(
    architecture: Architecture, profile: Profile, classes: int, *, metadata_bytes: int = METADATA_BYTES
) -> Cost:
    """Return the Cost of the net without any module: no limit below it can be met."""
    nothing = (0,) * len(architecture.blocks)
    return cost_of(architecture, nothing, classes, profile, metadata_bytes=metadata_bytes)


class _Search:
    """One set of utilities on one device, to be searched under any caps."""

    def __init__(
        self,
        utilities: Utilities,
        architecture: Architecture,
        profile: Profile,
        classes: int,
        metadata_bytes: int,
    ) -> None:
        if not all(np.isfinite(u).all() and (np.asarray(u) >= 0).all() for u in utilities):
            raise ValueError("utilities must be finite and not negative")
        self._architecture = architecture
        self._profile = profile
        self._classes = classes
        self._metadata_bytes = metadata_bytes
        self._utilities = utilities
        sizes, activations = size_table(architecture), activation_table(architecture)
        self._blocks = [
            _choices(-np.sort(-np.asarray(u, np.float64)), latency, size, peak)
            for u, latency, size, peak in zip(
                utilities, profile.latency.table, sizes, activations, strict=True
            )
        ]

    def solve(self, wanted: Sequence[Caps]) -> list[Gates | None]:
        """Return the best Gates for each of several caps."""
        cheapest = self._cost((0,) * len(self._blocks))
        rooms = [
            self._room(caps, cheapest) if caps.admit(cheapest, self._profile) else None for caps in wanted
        ]
        possible = [room for room in rooms if room is not None]
        if not possible:
            return [None for _ in wanted]
        knapsack = Knapsack(self._blocks, possible)
        return [
            None if room is None else self._best(knapsack, caps, room)
            for caps, room in zip(wanted, rooms, strict=True)
        ]

    def _best(self, knapsack: Knapsack, caps: Caps, room: Room) -> Gates:
        hasty = knapsack.hasty(room)
        best = hasty.take(np.argsort(-hasty.value, kind="stable"))
        # The room is a hair too wide; the Cost itself has the last word.
        known = next((v for v, c in zip(best.value, best.counts, strict=True) if self._admit(caps, c)), 0.0)
        found = knapsack.exact(room, float(known))
        order = np.lexsort((found.size, found.latency, -found.value))
        counts = next(found.counts[row] for row in order if self._admit(caps, found.counts[row]))
        return most_useful(self._utilities, counts.tolist())

    def _admit(self, caps: Caps, counts: npt.NDArray[np.int64]) -> bool:
        return caps.admit(self._cost(counts.tolist()), self._profile)

    def _cost(self, counts: Sequence[int]) -> Cost:
        return cost_of(
            self._architecture, counts, self._classes, self._profile, metadata_bytes=self._metadata_bytes
        )

    def _room(self, caps: Caps, cheapest: Cost) -> Room:
        """Turn caps into room above the net without modules, wide enough to lose nothing to rounding."""
        latency, memory = self._profile.latency, self._profile.memory

        def above(cap: float | None, margin: float, start: float) -> float:
            return np.inf if cap is None else max(cap / (1 + margin) - start, 0.0) + ROUNDING * cap

        time = above(caps.latency_ms, latency.margin, cheapest.latency_ms)
        return Room(
            latency=time / latency.scale if latency.scale > 0 else np.inf,
            size=above(caps.size_mb, 0.0, cheapest.size_mb) * 1e6,
            memory=above(caps.memory_mb, memory.margin, cheapest.memory_mb) * 1e6,
            per_size=memory.per_size,
            per_activation=memory.per_activation,
            floor=float(max(floor_activation_bytes(self._architecture), *(b.peak[-1] for b in self._blocks))),
        )


def _choices(
    utilities: npt.NDArray[np.float64], latency: Sequence[float], size: Sequence[int], peak: Sequence[int]
) -> Choices:
    """Return a block's choices from all useful modules down to none; ``utilities`` descend."""
    useful = int(np.count_nonzero(utilities))
    counts = np.arange(useful, -1, -1)
    return Choices(
        value=np.concatenate([[0.0], np.cumsum(utilities)])[counts],
        latency=(np.asarray(latency) - latency[0])[counts],
        size=(np.asarray(size, np.float64) - size[0])[counts],
        peak=np.asarray(peak, np.float64)[counts],
        counts=counts[:, None],
    )
