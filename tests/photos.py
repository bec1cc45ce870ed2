"""Photographs of no two the same pixels, and folders and zips of them, that tests share."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(number: int, size: tuple[int, int] = (20, 14)) -> Image.Image:
    """Return an RGB picture of noise, another one for every number."""
    draw = np.random.default_rng(number)
    return Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the content of a file with a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return the beginning of a PNG of some sides, in px, without its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT"


def put(file: Path, content: bytes | Image.Image | int) -> Path:
    """Write a file, its folders with it: bytes, a picture, or the picture of a number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = photo(content) if isinstance(content, int) else content
    file.write_bytes(image if isinstance(image, bytes) else encoded(image))
    return file


def classes_in(root: Path, first: int = 0, **counts: int) -> Path:
    """Write ``root/<class>/<number>.png``, so many a class, all different from a first number on."""
    for name, count in counts.items():
        for number in range(count):
            put(root / name / f"{number:02}.png", first)
            first += 1
    return root


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    """Write a zip of named contents."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def zip_of(folder: Path, file: Path, prefix: str = "") -> Path:
    """Write a zip of all files of a folder, perhaps within a wrapping one."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return zipped(file, {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
