"""Task: what a model is to recognise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Kind(StrEnum):
    """Recognition kinds."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"


_NAMES: dict[str, Any] = {"minItems": 1, "uniqueItems": True, "items": {"type": "string", "minLength": 1}}


class Task(BaseModel):
    """Kind and classes or groups of classes, in the order the outputs must have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Kind
    classes: tuple[str, ...] = Field(json_schema_extra=_NAMES)
    other: bool = False


@dataclass(frozen=True, slots=True)
class Outputs:
    """The classes that a model tells apart, as rows of the supernet's head, and the output that each counts for.

    Outputs are numbered from 0 on; an output that stands for several classes has a row for each.
    """

    rows: tuple[int, ...]
    of: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many outputs there are."""
        return max(self.of) + 1

    @property
    def merged(self) -> tuple[int, ...] | None:
        """The output of every row, None where each row is an output of its own."""
        return None if self.count == len(self.of) else self.of


def outputs_of(task: Task, classes: Sequence[str], groups: Mapping[str, Sequence[int]]) -> Outputs:
    """Return the outputs of a task's model: one for each name, and one for all classes not named if it wants that.

    Args:
        task: names classes or groups that share no class.
        classes: names of the supernet's classes.
        groups: name -> classes that it stands for, by index.
    """
    rows: list[int] = []
    of: list[int] = []
    for output, name in enumerate(task.classes):
        mine = [classes.index(name)] if name in classes else list(groups[name])
        rows += mine
        of += [output] * len(mine)
    if task.other:
        rest = [row for row in range(len(classes)) if row not in rows]
        rows += rest
        of += [len(task.classes)] * len(rest)
    return Outputs(tuple(rows), tuple(of))
