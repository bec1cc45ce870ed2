"""What can go wrong in this room; every error carries its figures as fields."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assembler.artifact import Diagnosis


class AssemblerError(Exception):
    """Base of all errors raised by the assembler room."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One fault of one field: a JSON pointer, a code, and a sentence that never repeats the raw input."""

    pointer: str
    code: str
    detail: str


class MalformedJson(AssemblerError):
    """The bytes are not one JSON document as the contract wants it; ``pointer`` is None where no place can be told."""

    def __init__(self, detail: str, pointer: str | None = None) -> None:
        self.detail = detail
        self.pointer = pointer
        super().__init__(detail)


class ScenarioInvalid(AssemblerError):
    """A scenario breaks the contract; ``code`` is that of the contract's table of errors."""

    def __init__(self, code: str, detail: str, problems: tuple[FieldProblem, ...]) -> None:
        self.code = code
        self.detail = detail
        self.problems = problems
        super().__init__(detail)


class Infeasible(AssemblerError):
    """No model meets the limits; the diagnosis says what binds and what is the nearest that can be had."""

    def __init__(self, diagnosis: "Diagnosis") -> None:
        self.diagnosis = diagnosis
        super().__init__(f"no model meets {', '.join(diagnosis.binding)}")


class VerificationFailed(AssemblerError):
    """A model file does not compute what the supernet computes."""

    def __init__(self, difference: float, allowed: float) -> None:
        self.difference = difference
        self.allowed = allowed
        super().__init__(f"outputs differ by {difference:.2e}, {allowed:.0e} is allowed")


class CompileFailed(AssemblerError):
    """A model file is not what its format allows; ``reason`` is the checker's."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("the model file is refused by the checker of its format")


class MeasurementFailed(AssemblerError):
    """A model could not be run for measuring."""


class ProfileDamaged(AssemblerError):
    """A device profile cannot be used as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"device profile {path} is damaged: {reason}")


class ProfileUnsaved(AssemblerError):
    """A device profile cannot be written where it is to be kept."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"device profiles cannot be kept in {path}: {reason}")


class OrderInvalid(AssemblerError):
    """A training run is asked for that cannot be; ``option`` is the one to change."""

    def __init__(self, option: str, reason: str) -> None:
        self.option = option
        self.reason = reason
        super().__init__(f"{option} {reason}")
