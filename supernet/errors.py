"""What can go wrong in this room; every error carries its figures as fields."""

from pathlib import Path


class SupernetError(Exception):
    """Base of all errors raised by the supernet room."""


class CheckpointDamaged(SupernetError):
    """A checkpoint folder cannot be used as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"checkpoint {path} is damaged: {reason}")


class DataInvalid(SupernetError):
    """A data set cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"data set {path}: {reason}")


class RunUnusable(SupernetError):
    """The saved state of a training run cannot be continued."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"training run {path} cannot be continued: {reason}")
