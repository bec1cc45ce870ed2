"""Artifact: the delivered file with its manifest, addressed by digest, and the figures that go with it."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

MEGABYTE = 1_000_000


class Frozen(BaseModel):
    """Base of all values that cross a process: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Basis(StrEnum):
    """Where the figure of a limits check comes from."""

    MEASURED = "measured"
    PROFILE = "profile"
    ESTIMATE = "estimate"


class Predicted(Frozen):
    """What the device profile and the accuracy predictor say of a model before it exists."""

    latency_ms: float
    memory_mb: float
    size_mb: float
    accuracy: float


class Measured(Frozen):
    """What was measured of the model file itself; ``samples`` validation images gave the accuracy.

    Latency and memory are None where the device is elsewhere.
    """

    latency_ms: float | None
    latency_percentile: int
    memory_mb: float | None
    size_mb: float
    accuracy: float
    samples: int


class LimitCheck(Frozen):
    """One limit of the scenario and how the model stands to it."""

    limit: str
    requested: float
    value: float
    basis: Basis
    met: bool


class Change(Frozen):
    """A change of the scenario that makes it feasible: JSON pointer -> value, and what it would give."""

    change: dict[str, Any]
    predicted: Predicted


class Diagnosis(Frozen):
    """Why a scenario cannot be met and what comes nearest."""

    feasible: bool
    binding: tuple[str, ...]
    best_possible: Predicted
    nearest: tuple[Change, ...]


class Estimate(Frozen):
    """The answer to a check: feasible with predicted figures, or what binds and what comes nearest.

    ``accuracy_error`` is by how much a predicted accuracy is off on average, on class sets never trained on.
    """

    feasible: bool
    accuracy_error: float
    predicted: Predicted | None = None
    binding: tuple[str, ...] = ()
    best_possible: Predicted | None = None
    nearest: tuple[Change, ...] = ()


class Artifact(Frozen):
    """A file to deliver, addressed by what it contains: a ``model``, or a ``bundle`` with a model in it."""

    kind: str = "model"
    format: str
    precision: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A zip of a model and what is needed to use it, with its manifest."""

    content: bytes
    artifact: Artifact
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Assembly:
    """All that one scenario became: the file, its manifest, its figures; ``measured`` is None if not verified."""

    content: bytes
    artifact: Artifact
    manifest: dict[str, Any]
    predicted: Predicted
    measured: Measured | None
    limits_check: tuple[LimitCheck, ...]
    bundle: Bundle | None = None

    @property
    def files(self) -> tuple[tuple[bytes, Artifact, dict[str, Any]], ...]:
        """Content, Artifact and manifest of every file to deliver, the model first."""
        model = (self.content, self.artifact, self.manifest)
        one = self.bundle
        return (model,) if one is None else (model, (one.content, one.artifact, one.manifest))

    @property
    def limits_met(self) -> bool:
        """Whether every limit is met."""
        return all(check.met for check in self.limits_check)


def address(content: bytes, *, format: str, precision: str, kind: str = "model") -> Artifact:
    """Return the Artifact of a file's content."""
    return Artifact(
        kind=kind,
        format=format,
        precision=precision,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
    )
