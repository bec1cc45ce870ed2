"""Run the model beside this file.

    python infer.py image.png ...   say what images show
    python infer.py --selftest      compare with the golden output; exit code 0 where it is the same
    python infer.py --bench         time one image on one thread

Needs onnxruntime and numpy. Reads PNG, PPM, PGM and .npy by itself, and all that Pillow reads where that is installed.
One file, and no newer Python than devices have: nothing of this project is imported.
Legend: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MODEL = "model.onnx"
GOLDEN_INPUT, GOLDEN_OUTPUT = "golden_input.npy", "golden_output.npy"
# Runtimes and processors add up in another order; a wrong model is further off.
TOLERANCE = 1e-3
TOLD = 5
BENCH_S, FEWEST_RUNS, WARM_RUNS = 2.0, 20, 10
MOST_PIXELS = 50_000_000
PNG = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Adam7: first row and column of each pass, and the steps between its rows and columns.
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


class Unreadable(Exception):
    """A file is not an image that can be read here; the message is one sentence."""


class Model:
    """The model file, run on one thread. It says itself what it is fed and what it answers."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / MODEL), options, providers=["CPUExecutionProvider"]
        )
        told = self._session.get_modelmeta().custom_metadata_map
        self.classes: list[str] = json.loads(told["classes"])
        self._input: dict[str, Any] = json.loads(told["input"])
        self.shape: tuple[int, int, int] = tuple(self._input["shape"][1:])

    def run(self, images: Any) -> Any:
        """Return the scores of images, N x K, from their pixels, N x C x H x W, 0..255."""
        feed = {self._input["name"]: np.ascontiguousarray(images, dtype=np.float32)}
        return self._session.run(None, feed)[0]

    def fed(self, image: Any) -> Any:
        """Return an image as the model is fed it, C x H x W, from H x W x 3 of any size or from C x H x W as it is."""
        channels, height, width = self.shape
        if image.shape == self.shape:
            return image
        if channels == 1:
            image = gray_of(image)[:, :, None]
        return resized(image, height, width).transpose(2, 0, 1)


def read_images(path: Path, shape: tuple[int, int, int]) -> list[Any]:
    """Return the images of a file: H x W x 3, uint8, or as they are where an array has the model's own shape.

    Raises:
        Unreadable: it is no image of a known kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    try:
        if path.suffix.lower() == ".npy":
            return _arrays(np.load(path, allow_pickle=False), shape)
        return [_decoded(content, path)]
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from None
    except (ValueError, IndexError, KeyError, struct.error, zlib.error, EOFError) as error:
        raise Unreadable(f"{path}: the file is damaged ({error})") from None


def _arrays(found: Any, shape: tuple[int, int, int]) -> list[Any]:
    if found.dtype.kind not in "uif":
        raise Unreadable("an array must hold numbers")
    if found.shape == shape:
        return [found]
    if found.ndim == 4 and found.shape[1:] == shape:
        return list(found)
    if found.dtype != np.uint8:
        raise Unreadable(f"an array of other shape than {shape} must be uint8")
    if found.ndim == 2:
        return [np.repeat(found[:, :, None], 3, axis=2)]
    if found.ndim == 3 and found.shape[2] == 3:
        return [found]
    raise Unreadable(f"an array must be {shape}, N x {shape}, H x W or H x W x 3")


def _decoded(content: bytes, path: Path) -> Any:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        pass
    else:
        try:
            with Image.open(path) as image:
                return _of_pillow(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise Unreadable(f"Pillow cannot read it ({error})") from None
    if content.startswith(PNG):
        return decode_png(content)
    if content[:2] in (b"P2", b"P3", b"P5", b"P6"):
        return decode_netpbm(content)
    raise Unreadable("it is neither PNG nor PPM, PGM or .npy; for other kinds install Pillow")


def _of_pillow(image: Any) -> Any:
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        return np.repeat(((pixels + 128) // 257).clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return on_white(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))


def on_white(image: Any) -> Any:
    """Return H x W x 3 from H x W x 4 with opacity, laid on white."""
    opacity = image[:, :, 3:].astype(np.uint32)
    return ((image[:, :, :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def gray_of(image: Any) -> Any:
    """Return H x W from H x W x 3, uint8 both. Source: ITU-R 601-2, in whole numbers as Pillow has it."""
    red, green, blue = (image[:, :, place].astype(np.uint32) for place in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def resized(image: Any, height: int, width: int) -> Any:
    """Return an image, H x W x C uint8, in another size: bilinear, antialiased where it shrinks."""
    if image.shape[1] != width:
        image = _with_rows(image.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return image if image.shape[0] == height else _with_rows(image, height)


def _with_rows(image: Any, wanted: int) -> Any:
    """Return an image with another number of rows."""
    flat = np.ascontiguousarray(image, dtype=np.float32).reshape(len(image), -1)
    rows = np.floor(_weights(len(image), wanted) @ flat + 0.5).clip(0, 255)
    return rows.astype(np.uint8).reshape(wanted, *image.shape[1:])


def _weights(given: int, wanted: int) -> Any:
    """Return how much every given pixel counts for every wanted one: a triangle around its middle, wanted x given."""
    scale = given / wanted
    reach = max(scale, 1.0)
    middles = (np.arange(wanted)[:, None] + 0.5) * scale
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(given)[None] + 0.5 - middles) / reach)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def decode_netpbm(content: bytes) -> Any:
    """Return the image of a PGM or PPM file, plain or raw, H x W x 3 uint8.

    Raises:
        Unreadable: it is too large.
        ValueError: it is damaged.
    """
    words: list[int] = []
    at = 2
    while len(words) < 3:
        while content[at : at + 1].isspace() or content[at : at + 1] == b"#":
            at = content.index(b"\n", at) + 1 if content[at : at + 1] == b"#" else at + 1
        start = at
        while content[at : at + 1].isdigit():
            at += 1
        words.append(int(content[start:at]))
    width, height, most = words
    channels = 3 if content[:2] in (b"P3", b"P6") else 1
    count = _checked(width, height) * channels
    if not 0 < most < 65536:
        raise ValueError("its largest value is out of range")
    if content[:2] in (b"P2", b"P3"):
        lines = (line.partition(b"#")[0] for line in content[at:].splitlines())
        values = np.array(b" ".join(lines).split()[:count], dtype=np.uint32)
    else:
        values = np.frombuffer(content, ">u2" if most > 255 else "u1", count, at + 1).astype(np.uint32)
    if len(values) < count or values.max() > most:
        raise ValueError("it holds too few pixels, or larger ones than it says")
    pixels = ((values * 255 + most // 2) // most).astype(np.uint8).reshape(height, width, channels)
    return np.repeat(pixels, 3, axis=2) if channels == 1 else pixels


def decode_png(content: bytes) -> Any:
    """Return the image of a PNG file of any kind, laid on white, H x W x 3 uint8.

    Raises:
        Unreadable: it is too large.
        ValueError, struct.error, zlib.error: it is damaged.
    """
    parts = _chunks(content)
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    if depth not in PNG_DEPTHS.get(kind, ()):
        raise ValueError("its kind of pixels is unknown")
    _checked(width, height)
    channels = PNG_CHANNELS[kind]
    passes = [
        (rows, columns, -(-(height - rows) // down), -(-(width - columns) // across), down, across)
        for rows, columns, down, across in (PASSES if interlaced else ((0, 0, 1, 1),))
        if rows < height and columns < width
    ]
    sizes = [tall * (1 + (wide * channels * depth + 7) // 8) for _, _, tall, wide, _, _ in passes]
    data = zlib.decompressobj().decompress(parts[b"IDAT"], sum(sizes))
    if len(data) < sum(sizes):
        raise ValueError("it ends too early")
    pixels, at = np.zeros((height, width, channels), np.uint16), 0
    for (row, column, tall, wide, down, across), size in zip(passes, sizes):  # noqa: B905
        part = _unfiltered(data[at : at + size], tall, max(1, channels * depth // 8))
        pixels[row::down, column::across] = _samples(part, tall, wide, channels, depth)
        at += size
    return _colours(pixels, kind, depth, parts.get(b"PLTE", b""), parts.get(b"tRNS"))


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """Return the parts of a PNG file by their names, those of the data joined."""
    found: dict[bytes, bytes] = {}
    data, at = [], len(PNG)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if struct.unpack_from(">I", content, at + 8 + length)[0] != zlib.crc32(name + body):
            raise ValueError("a checksum is wrong")
        if name == b"IDAT":
            data.append(body)
        else:
            found.setdefault(name, body)
        if name == b"IEND":
            break
        at += 12 + length
    return {**found, b"IDAT": b"".join(data)}


def _unfiltered(data: bytes, tall: int, step: int) -> Any:
    """Return the bytes of a pass, rows x bytes, every row's filter undone. Source: PNG specification, section 9."""
    rows = np.frombuffer(data, np.uint8).reshape(tall, -1)
    found = np.zeros((tall, rows.shape[1] - 1), np.uint8)
    above = np.zeros(rows.shape[1] - 1, np.uint8)
    for place in range(tall):
        kind, row = rows[place, 0], rows[place, 1:].copy()
        if kind == 1:
            for channel in range(step):
                row[channel::step] = np.cumsum(row[channel::step], dtype=np.uint8)
        elif kind == 2:
            row += above
        elif kind in (3, 4):
            row = _predicted(row.tobytes(), above.tobytes(), step, average=kind == 3)
        elif kind:
            raise ValueError("a filter is unknown")
        found[place] = above = row
    return found


def _predicted(row: bytes, above: bytes, step: int, *, average: bool) -> Any:
    """Undo the filters that predict a byte from its neighbours, to the left, above, and above to the left."""
    found = bytearray(row)
    for place in range(len(found)):
        left, corner = (found[place - step], above[place - step]) if place >= step else (0, 0)
        up = above[place]
        if average:
            guess = (left + up) >> 1
        else:
            to_left, to_up = abs(up - corner), abs(left - corner)
            to_corner = abs(left + up - 2 * corner)
            nearest = left if to_left <= to_up else up
            guess = nearest if min(to_left, to_up) <= to_corner else corner
        found[place] = (found[place] + guess) & 255
    return np.frombuffer(bytes(found), np.uint8)


def _samples(rows: Any, tall: int, wide: int, channels: int, depth: int) -> Any:
    """Return the numbers that rows of bytes hold, tall x wide x channels."""
    if depth == 16:
        return np.ascontiguousarray(rows).view(">u2").reshape(tall, wide, channels)
    if depth < 8:
        bits = np.unpackbits(rows, axis=1).reshape(tall, -1, depth)
        rows = (bits << np.arange(depth - 1, -1, -1, dtype=np.uint8)).sum(axis=2)[:, : wide * channels]
    return rows.reshape(tall, wide, channels)


def _colours(pixels: Any, kind: int, depth: int, palette: bytes, clear: bytes | None) -> Any:
    """Return H x W x 3 from the samples of a PNG file."""
    if kind == 3:
        colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        opacity = np.full((len(colours), 1), 255, np.uint8)
        given = np.frombuffer(clear or b"", np.uint8)[: len(colours)]
        opacity[: len(given), 0] = given
        return on_white(np.concatenate([colours, opacity], axis=1)[pixels[:, :, 0]])
    opaque: Any = 255
    if kind in (4, 6):
        opaque = _scaled(pixels[:, :, -1:], depth)
        pixels = pixels[:, :, :-1]
    elif clear is not None:
        colour = np.frombuffer(clear, ">u2")[: pixels.shape[2]]
        opaque = np.where((pixels == colour).all(axis=2, keepdims=True), 0, 255)
    rgb = np.broadcast_to(_scaled(pixels, depth), (*pixels.shape[:2], 3))
    return on_white(np.concatenate([rgb, np.broadcast_to(opaque, (*rgb.shape[:2], 1))], axis=2))


def _scaled(samples: Any, depth: int) -> Any:
    """Return samples of some bits as 0..255."""
    if depth == 16:
        return (samples.astype(np.uint32) + 128) // 257
    return samples.astype(np.uint32) * 255 // (2**depth - 1)


def _checked(width: int, height: int) -> int:
    """Return how many pixels an image has."""
    if not 0 < width * height <= MOST_PIXELS:
        raise Unreadable(f"{width} x {height} px cannot be read")
    return width * height


def classify(model: Model, path: Path, *, as_json: bool) -> None:
    """Print the scores of a file's images, a line each."""
    images = read_images(path, model.shape)
    for number, image in enumerate(images):
        scores = model.run(model.fed(image)[None])[0]
        name = f"{path}[{number}]" if len(images) > 1 else str(path)
        if as_json:
            told = {label: round(float(scores[place]), 6) for place, label in enumerate(model.classes)}
            print(json.dumps({"image": name, "class": model.classes[int(scores.argmax())], "scores": told}))
        else:
            best = np.argsort(-scores, kind="stable")[:TOLD]
            print(f"{name}: " + ", ".join(f"{model.classes[place]} {scores[place]:.3f}" for place in best))


def selftest(model: Model, folder: Path) -> int:
    """Compare what the model says of the golden input with the golden output; return the exit code."""
    golden = np.load(folder / GOLDEN_OUTPUT)
    found = model.run(np.load(folder / GOLDEN_INPUT))
    same = found.shape == golden.shape
    off = float(np.abs(found - golden).max()) if same else float("nan")
    passed = same and off <= TOLERANCE  # also not when it is no number
    print(
        f"selftest {'passed' if passed else 'FAILED'}: outputs differ by {off:.1e}, {TOLERANCE:.0e} is allowed"
    )
    return 0 if passed else 1


def bench(model: Model, folder: Path) -> None:
    """Print how long one image takes on one thread."""
    image = np.load(folder / GOLDEN_INPUT)[:1].astype(np.float32)
    for _ in range(WARM_RUNS):
        model.run(image)
    times: list[float] = []
    ends = time.perf_counter() + BENCH_S
    while len(times) < FEWEST_RUNS or time.perf_counter() < ends:
        began = time.perf_counter()
        model.run(image)
        times.append(1000 * (time.perf_counter() - began))
    p50, p95 = np.percentile(times, [50, 95])
    print(f"p50 {p50:.3f} ms, p95 {p95:.3f} ms: {len(times)} runs of one image on one thread")


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description="Run the model beside this file.")
    parser.add_argument("images", nargs="*", type=Path, help="PNG, PPM, PGM or .npy; others with Pillow")
    parser.add_argument("--selftest", action="store_true", help="compare with the golden output")
    parser.add_argument("--bench", action="store_true", help="time one image on one thread")
    parser.add_argument("--json", action="store_true", help="print a JSON object an image, with every score")
    asked = parser.parse_args()
    if not (asked.images or asked.selftest or asked.bench):
        parser.error("name an image, or ask for --selftest or --bench")
    folder = Path(__file__).resolve().parent
    model = Model(folder)
    if asked.selftest and selftest(model, folder):
        return 1
    if asked.bench:
        bench(model, folder)
    unread = 0
    for path in asked.images:
        try:
            classify(model, path, as_json=asked.json)
        except Unreadable as error:
            print(f"infer.py: {error}", file=sys.stderr)
            unread = 2
    return unread


if __name__ == "__main__":
    sys.exit(main())
