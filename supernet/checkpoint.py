"""Checkpoint: a trained supernet as a folder, written whole or not at all.

Legend: N images, C channels, H height, W width.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from supernet.card import CARD_FILE, Card, load_card
from supernet.data import SPLITS, Split, load_data
from supernet.errors import CheckpointDamaged, DataInvalid
from supernet.model import Supernet
from supernet.named import NAMED_FILE, NamedImages, check_files, data_at_hand, file_digest, load_named
from supernet.photos.folder import is_zip
from supernet.sheets import sheet_file
from supernet.stored import UNREADABLE, read_images
from supernet.writing import writing

WEIGHTS_FILE = "weights.safetensors"
IMAGES_FILE = "images.npz"
ASSEMBLER_FILE = "assembler.onnx"
PREDICTOR_FILE = "predictor.onnx"
REFERENCES_FILE = "references.npz"

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint: Card, supernet, images to calibrate and refit on, images to validate on.

    The images of both splits are ordered so that every prefix holds the classes equally often.
    """

    folder: Path
    card: Card
    supernet: Supernet
    calibration: Split
    validation: Split


def weights_bytes(supernet: Supernet) -> bytes:
    """Return the supernet's weights as a safetensors file, float16."""
    # safetensors writes memory as it lies: weights in channels-last order must be laid out anew.
    return save_tensors(
        {
            name: np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float16)
            for name, tensor in supernet.state_dict().items()
        }
    )


def named_bytes(path: Path, calibration: Indices, validation: Indices) -> bytes:
    """Return the content of the file that names images of a data set instead of holding them.

    Args:
        path: of the data set, as ``load_data`` takes it.
        calibration: places among its training images.
        validation: places among its validation images.

    Raises:
        DataInvalid: it is an image folder or zip, whose images depend on how they were read.
    """
    if path.is_dir() or is_zip(path):
        raise DataInvalid(path, "images of a folder or zip cannot be named by their place; use an archive")
    files = (path,) if path.is_file() else tuple(sheet_file(path, split) for split in SPLITS)
    named = NamedImages(
        data=path.name,
        files={file.name: file_digest(file) for file in files},
        calibration=tuple(calibration.tolist()),
        validation=tuple(validation.tolist()),
    )
    return named.model_dump_json().encode() + b"\n"


def file_digests(files: dict[str, bytes]) -> dict[str, str]:
    """Return the sha256, hexadecimal, of every file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}


def save_checkpoint(
    folder: Path, card: Card, files: dict[str, bytes], beside: Mapping[str, bytes] = MappingProxyType({})
) -> None:
    """Write a checkpoint folder; a checkpoint that is there is replaced only when the new one is complete.

    Args:
        folder: where it goes.
        card: its ``files`` are the digests of ``files``.
        files: name -> content.
        beside: name -> content of what is for people to read: no part of the checkpoint, so the Card does not list it.

    Raises:
        CheckpointDamaged: something else lies in the folder, or the new files do not match their digests.
        Unwritten: the disk is full, for instance; nothing of the new checkpoint stays.
    """
    check_place(folder)
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    with writing(folder, partial):
        partial.mkdir(parents=True)
        for name, content in {**beside, **files}.items():
            (partial / name).write_bytes(content)
        (partial / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n")
    load_card(partial)
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def check_place(folder: Path) -> None:
    """Check that a checkpoint may be written to a folder: it is new, empty, or a checkpoint itself.

    Raises:
        CheckpointDamaged: something else lies there, or it has no name.
    """
    if not folder.name or folder.name.startswith("."):
        raise CheckpointDamaged(folder, "a checkpoint's folder needs a name, which is the supernet's")
    if (
        folder.exists()
        and not (folder / CARD_FILE).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise CheckpointDamaged(
            folder, "something else lies there; name a new or empty folder, or a checkpoint"
        )


def load_checkpoint(folder: Path, device: str = "cpu", datasets: Path | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        folder: the checkpoint.
        device: of torch, ``cpu`` or ``cuda``.
        datasets: folder of the data sets at hand, for a checkpoint without images of its own.

    Raises:
        CheckpointDamaged: a file is missing or does not fit the Card.
        DataMissing, DataInvalid: the images that it names are not at hand, or others are.
    """
    card = load_card(folder)
    supernet = Supernet(card.architecture, len(card.classes))
    try:
        arrays = load_tensors((folder / WEIGHTS_FILE).read_bytes())
        supernet.load_state_dict({name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointDamaged(folder, f"{WEIGHTS_FILE} does not fit the Card ({reason})") from error
    calibration, validation = _images(folder, card, datasets)
    supernet.requires_grad_(False)
    supernet.to(torch.device(device)).to(memory_format=torch.channels_last)
    return Checkpoint(folder, card, supernet, calibration, validation)


def _images(folder: Path, card: Card, datasets: Path | None) -> tuple[Split, Split]:
    own = IMAGES_FILE in card.files or NAMED_FILE not in card.files
    found = _stored_images(folder) if own else _named_images(folder, card, datasets)
    image, file = card.architecture.input, IMAGES_FILE if own else NAMED_FILE
    shape = (image.channels, image.height, image.width)
    for split in found:
        if (
            split.images.shape[1:] != shape
            or split.images.dtype != np.uint8
            or len(split.images) != len(split.labels)
        ):
            raise CheckpointDamaged(folder, f"{file} holds no images of {shape}")
        if len(split) == 0 or split.labels.max() >= len(card.classes):
            raise CheckpointDamaged(folder, f"{file} has labels that the Card does not name")
    return found


def _stored_images(folder: Path) -> tuple[Split, Split]:
    try:
        with (folder / IMAGES_FILE).open("rb") as file:
            return read_images(file)
    except UNREADABLE as error:
        raise CheckpointDamaged(folder, f"{IMAGES_FILE} cannot be read ({error})") from error


def _named_images(folder: Path, card: Card, datasets: Path | None) -> tuple[Split, Split]:
    named = load_named(folder)
    path = data_at_hand(folder, named, datasets, card.data.told)
    check_files(folder, named, path.parent)
    data = load_data(path)
    found = []
    for split, places in ((data.train, named.calibration), (data.val, named.validation)):
        if not places or not 0 <= min(places) <= max(places) < len(split):
            raise CheckpointDamaged(folder, f"{NAMED_FILE} names images that the data set does not have")
        found.append(split.at(np.array(places)))
    return found[0], found[1]
