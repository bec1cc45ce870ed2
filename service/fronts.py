"""Fronts: those that were asked for lately."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from assembler.pareto import Front

MOST_KEPT = 64


class Fronts:
    """A few values by their keys, those used last; safe to share between threads."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Front] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Front]) -> Front:
        """Return what is kept by a key; it is made where there is nothing yet, twice where two ask at once."""
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = make()
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found
