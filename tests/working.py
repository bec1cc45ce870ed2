"""Work that says how far it is, done to its end."""

from collections.abc import Generator
from typing import TypeVar

from assembler.effort import Done

T = TypeVar("T")


def result_of(work: Generator[Done, None, T]) -> T:
    """Return what some work returns; what it says on the way must only rise, to its total at last."""
    said = []
    while True:
        try:
            said.append(next(work))
        except StopIteration as end:
            assert said == sorted(said)
            assert said[-1].done == said[-1].total
            result: T = end.value
            return result
