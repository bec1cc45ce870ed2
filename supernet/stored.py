"""The images that lie in a checkpoint, to calibrate and to validate on, as one numpy archive.

Small images are kept as they are, photographs as WebP pictures, which take a tenth of the bytes.
Legend: N images, C channels, H height, W width.
"""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from supernet.data import Split

MOST_LOSSLESS_PX = 64
QUALITY = 75
PARTS = ("calibration", "validation")
# What reading an archive that is no such archive may raise.
UNREADABLE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, UnidentifiedImageError)

Members = dict[str, npt.NDArray[Any]]


def are_photographs(split: Split) -> bool:
    """Return whether images are large and in colour, so that they are kept as pictures."""
    _, channels, _, width = split.images.shape
    return bool(channels == 3 and width > MOST_LOSSLESS_PX)


def images_bytes(calibration: Split, validation: Split) -> bytes:
    """Return both splits as one numpy archive; LZMA takes a sixth less than numpy's own compression."""
    members: Members = {}
    for name, split in zip(PARTS, (calibration, validation), strict=True):
        members |= {f"{name}_{part}": array for part, array in _packed(split).items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in members.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_LZMA)
    return file.getvalue()


def read_images(file: IO[bytes]) -> tuple[Split, Split]:
    """Return the calibration and the validation images of an archive that ``images_bytes`` made.

    Raises:
        one of UNREADABLE: it is damaged.
    """
    with np.load(file) as archive:
        members = {name: archive[name] for name in archive.files}
    calibration, validation = (
        _unpacked(
            {part.removeprefix(f"{name}_"): array for part, array in members.items() if part.startswith(name)}
        )
        for name in PARTS
    )
    return calibration, validation


def _packed(split: Split) -> Members:
    """Return ``labels`` N, and ``images`` N x C x H x W or ``pictures``, bytes one after the other, and ``sizes`` N."""
    labels = split.labels.astype(np.uint16)
    if not are_photographs(split):
        return {"images": split.images, "labels": labels}
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(_encode, split.images))
    sizes = np.array([len(picture) for picture in pictures], np.uint32)
    return {"pictures": np.frombuffer(b"".join(pictures), np.uint8), "sizes": sizes, "labels": labels}


def _unpacked(members: Members) -> Split:
    labels = members["labels"].astype(np.int64)
    if "images" in members:
        return Split(members["images"], labels)
    pictures, ends = members["pictures"].tobytes(), np.cumsum(members["sizes"], dtype=np.int64).tolist()
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(_decode, (pictures[a:b] for a, b in zip([0, *ends], ends, strict=False))))
    return Split(np.stack(images), labels)


def _encode(image: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "WEBP", quality=QUALITY, method=6)
    return file.getvalue()


def _decode(picture: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture), formats=("WEBP",)) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"), np.uint8).transpose(2, 0, 1))
