"""Checkpoint: a trained supernet as a folder, written whole or not at all.

Legend: N images, C channels, H height, W width.
"""

import hashlib
import io
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from supernet.card import CARD_FILE, Card, load_card
from supernet.data import Split
from supernet.errors import CheckpointDamaged
from supernet.model import Supernet

WEIGHTS_FILE = "weights.safetensors"
IMAGES_FILE = "images.npz"
ASSEMBLER_FILE = "assembler.onnx"
PREDICTOR_FILE = "predictor.onnx"


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


def images_bytes(calibration: Split, validation: Split) -> bytes:
    """Return both splits as one numpy archive; LZMA takes a sixth less than numpy's own compression."""
    members: dict[str, npt.NDArray[Any]] = {
        "calibration_images": calibration.images,
        "calibration_labels": calibration.labels.astype(np.uint16),
        "validation_images": validation.images,
        "validation_labels": validation.labels.astype(np.uint16),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in members.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_LZMA)
    return file.getvalue()


def file_digests(files: dict[str, bytes]) -> dict[str, str]:
    """Return the sha256, hexadecimal, of every file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}


def save_checkpoint(folder: Path, card: Card, files: dict[str, bytes]) -> None:
    """Write a checkpoint folder; a checkpoint that is there is replaced only when the new one is complete.

    Args:
        folder: where it goes.
        card: its ``files`` are the digests of ``files``.
        files: name -> content.

    Raises:
        CheckpointDamaged: something else lies in the folder, or the new files do not match their digests.
    """
    check_place(folder)
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in files.items():
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


def load_checkpoint(folder: Path, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Args:
        folder: the checkpoint.
        device: of torch, ``cpu`` or ``cuda``.

    Raises:
        CheckpointDamaged: a file is missing or does not fit the Card.
    """
    card = load_card(folder)
    supernet = Supernet(card.architecture, len(card.classes))
    try:
        arrays = load_tensors((folder / WEIGHTS_FILE).read_bytes())
        supernet.load_state_dict({name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointDamaged(folder, f"{WEIGHTS_FILE} does not fit the Card ({reason})") from error
    calibration, validation = _load_images(folder, card)
    supernet.requires_grad_(False)
    supernet.to(torch.device(device)).to(memory_format=torch.channels_last)
    return Checkpoint(folder, card, supernet, calibration, validation)


def _load_images(folder: Path, card: Card) -> tuple[Split, Split]:
    image = card.architecture.input
    shape = (image.channels, image.height, image.width)
    splits = []
    try:
        with np.load(folder / IMAGES_FILE) as archive:
            for name in ("calibration", "validation"):
                images = archive[f"{name}_images"]
                splits.append(Split(images, archive[f"{name}_labels"].astype(np.int64)))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointDamaged(folder, f"{IMAGES_FILE} cannot be read ({error})") from error
    for split in splits:
        if (
            split.images.shape[1:] != shape
            or split.images.dtype != np.uint8
            or len(split.images) != len(split.labels)
        ):
            raise CheckpointDamaged(folder, f"{IMAGES_FILE} holds no images of {shape}")
        if len(split) == 0 or split.labels.max() >= len(card.classes):
            raise CheckpointDamaged(folder, f"{IMAGES_FILE} has labels that the Card does not name")
    return splits[0], splits[1]
