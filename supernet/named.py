"""Named images: a checkpoint whose images may not be passed on names them, and takes them from the data set at hand.

Loads no torch.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supernet.errors import CheckpointDamaged, DataInvalid, DataMissing

NAMED_FILE = "images.json"


class NamedImages(BaseModel):
    """Which images of a data set a checkpoint is calibrated and validated on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        description="name of the data set: of its file, or what the names of its files begin with"
    )
    files: dict[str, str] = Field(
        min_length=1, description="sha256, hexadecimal, of every file that images are taken from"
    )
    calibration: tuple[int, ...] = Field(description="places among the training images")
    validation: tuple[int, ...] = Field(description="places among the validation images")


def load_named(checkpoint: Path) -> NamedImages:
    """Read which images a checkpoint names.

    Raises:
        CheckpointDamaged: the file does not say.
    """
    try:
        return NamedImages.model_validate_json((checkpoint / NAMED_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointDamaged(checkpoint, f"{NAMED_FILE} does not name images") from error


def data_at_hand(checkpoint: Path, named: NamedImages, datasets: Path | None, source: str = "") -> Path:
    """Return the path of the data set that a checkpoint names; all its files are there.

    Args:
        checkpoint: its folder.
        named: what it names.
        datasets: folder of the data sets at hand, None where there is none.
        source: what the data set is and whose, for people.

    Raises:
        DataMissing: a file is not there; it says which, of what, and where it belongs.
    """
    if datasets is None or not all((datasets / name).is_file() for name in named.files):
        raise DataMissing(checkpoint, tuple(named.files), datasets, source)
    return datasets / named.data


def check_files(checkpoint: Path, named: NamedImages, folder: Path) -> None:
    """Check that the files of a data set are those that a checkpoint was made with.

    Raises:
        DataInvalid: one is another.
    """
    for name, digest in named.files.items():
        if file_digest(folder / name) != digest:
            raise DataInvalid(folder / name, f"is not the file that supernet {checkpoint.name} was made with")


def file_digest(file: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
