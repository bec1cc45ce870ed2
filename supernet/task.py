"""Task: what a model is to recognise."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Kind(StrEnum):
    """Recognition kinds."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"


class Task(BaseModel):
    """Kind and classes, in the order the outputs must have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Kind
    classes: tuple[str, ...]
    other: bool = False
