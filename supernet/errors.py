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


class UnknownClass(SupernetError):
    """A class name is not in a supernet's vocabulary."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"class {name!r} is not in the vocabulary")
