"""Progress: the phases of one job, as they begin and end."""

import time
from typing import Any

from service.traces import JobSpans


class Progress:
    """Collects the phases of a job; one begins when the last one ends."""

    def __init__(self, spans: JobSpans | None = None) -> None:
        """Begin.

        Args:
            spans: of the job in its trace; each phase is told to them.
        """
        self.spans = spans or JobSpans()
        self._ended: list[dict[str, Any]] = []
        self._name: str | None = None
        self._began = time.perf_counter()
        self._along = 0.0

    def begin(self, name: str) -> None:
        """End the present phase and begin the next."""
        self.end()
        self._name, self._began, self._along = name, time.perf_counter(), 0.0
        self.spans.begin(name)

    def go_on(self, share: float) -> None:
        """Note how far the present phase has come, 0..1."""
        self._along = share

    def end(self, *, succeeded: bool = True) -> None:
        """End the present phase, if there is one."""
        if self._name is not None:
            duration_ms = round((time.perf_counter() - self._began) * 1000, 1)
            state = "succeeded" if succeeded else "failed"
            self._ended.append({"name": self._name, "state": state, "duration_ms": duration_ms})
            self._name = None
            self.spans.end(succeeded=succeeded)

    @property
    def phases(self) -> list[dict[str, Any]]:
        """All phases so far, the present one last."""
        if self._name is None:
            return list(self._ended)
        return [*self._ended, {"name": self._name, "state": "running", "duration_ms": None}]

    @property
    def share(self) -> float:
        """How far it is, 0..1: only rises, and reaches 1 never, because phases may repeat."""
        here, there = (n / (n + 2) for n in (len(self._ended), len(self._ended) + 1))
        return round(here + self._along * (there - here), 3)
