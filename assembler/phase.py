"""Phases of an assembly, as they are told to who waits for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A step of the way begins."""

    name: str


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """How far the present phase has come, 0..1; told of long phases only."""

    share: float
