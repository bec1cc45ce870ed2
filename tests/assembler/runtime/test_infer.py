"""What travels with a model runs with onnxruntime and numpy alone, reads images as training does, and finds faults."""

import importlib.util
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from assembler.bundle import bundled
from assembler.runtime.infer import (
    PASSES,
    Unreadable,
    decode_netpbm,
    decode_png,
    on_white,
    read_images,
    resized,
)
from supernet.photos.pictures import picture_of
from tests.assembler.bundles import CARD, COLOUR_CARD, assembled

Pixels = npt.NDArray[np.uint8]
SHAPE = (3, 16, 16)


def unpacked(folder: Path, card: Any = CARD) -> Path:
    """Return a folder with the files of a bundle."""
    bundle = bundled(assembled(card), card).bundle
    assert bundle is not None
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("gray"))


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("colour"), COLOUR_CARD)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with onnxruntime and numpy and nothing else."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("numpy", "onnxruntime"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        place = Path(found.origin).parent
        (folder / name).symlink_to(place)
        libraries = place.with_name(f"{name}.libs")
        if libraries.exists():
            (folder / libraries.name).symlink_to(libraries)
    return folder


@pytest.fixture
def infer(alone: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a bundle's program with no other packages than those it says it needs."""
    probe = (
        "import runpy, sys\n"
        "sys.path.append(sys.argv[1])\n"
        "sys.argv = sys.argv[2:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )

    def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", "-S", "-c", probe, str(alone), str(folder / "infer.py"), *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)

    return run


def png(image: Pixels, **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, "PNG", **options)
    return target.getvalue()


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    row, column = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin((row + k * column + seed) / 9) for k in range(channels)]
    return np.stack(waves, axis=2).astype(np.uint8)


def test_the_golden_output_is_met_and_another_model_is_found_out(
    gray: Path, infer: Any, tmp_path: Path
) -> None:
    passed = infer(gray, "--selftest")
    assert (passed.returncode, passed.stdout[:15]) == (0, "selftest passed"), passed.stderr
    other = unpacked(tmp_path)
    golden = np.load(other / "golden_output.npy")
    for wrong in (golden[:, ::-1], golden[:1], golden * np.nan):
        np.save(other / "golden_output.npy", wrong)
        failed = infer(other, "--selftest")
        assert (failed.returncode, failed.stdout[:15]) == (1, "selftest FAILED"), failed.stderr


def test_one_image_is_timed_on_one_thread(gray: Path, infer: Any) -> None:
    done = infer(gray, "--bench")
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert (words[0], words[2], words[3]) == ("p50", "ms,", "p95")
    assert 0 < float(words[1]) <= float(words[4])


def test_an_image_is_classified_as_the_plain_runtime_does(colour: Path, infer: Any) -> None:
    image = smooth(40, 30)
    (colour / "image.png").write_bytes(png(image))
    done = infer(colour, "image.png", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    pixels = picture_of(Image.fromarray(image), side_px=16, channels=3).pixels
    session = onnxruntime.InferenceSession(str(colour / "model.onnx"))
    (scores,) = session.run(None, {"image": pixels[None].astype(np.float32)})
    assert list(told["scores"]) == ["boot", "café"]
    np.testing.assert_allclose(list(told["scores"].values()), scores[0], atol=0.01)
    assert told["class"] == ["boot", "café"][int(scores[0].argmax())]


def test_several_files_of_all_kinds_are_told_a_line_each(gray: Path, infer: Any) -> None:
    image = smooth(20, 24)
    (gray / "a.png").write_bytes(png(image))
    Image.fromarray(image).save(gray / "b.ppm")
    np.save(gray / "c.npy", image)
    np.save(gray / "d.npy", np.zeros((2, 1, 16, 16), np.float32))
    done = infer(gray, "a.png", "b.ppm", "c.npy", "d.npy")
    assert done.returncode == 0, done.stderr
    lines = [line.partition(": ") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["a.png", "b.ppm", "c.npy", "d.npy[0]", "d.npy[1]"]
    assert lines[0][2] == lines[1][2] == lines[2][2]


def test_what_cannot_be_read_is_told_in_a_sentence_and_the_others_are_done(gray: Path, infer: Any) -> None:
    (gray / "good.png").write_bytes(png(smooth(16, 16)))
    (gray / "torn.png").write_bytes(png(smooth(16, 16))[:80])
    (gray / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    done = infer(gray, "torn.png", "good.png", "photo.jpg", "nothing.png")
    assert done.returncode == 2
    assert done.stdout.startswith("good.png: ")
    told = done.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in told] == ["torn.png", "photo.jpg", "nothing.png"]
    assert "install Pillow" in told[1]


def test_without_a_wish_its_use_is_shown(gray: Path, infer: Any) -> None:
    done = infer(gray)
    assert done.returncode == 2
    assert "--selftest" in done.stderr


@settings(max_examples=30)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1"]),
    st.booleans(),
)
def test_a_png_is_read_as_pillow_reads_it(height: int, width: int, mode: str, noisy: bool) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 4)).astype(np.uint8)
    if not noisy:
        image[:, :, :3] = smooth(height, width)
    picture = Image.fromarray(image).convert(mode)
    target = io.BytesIO()
    picture.save(target, "PNG")
    expected = on_white(np.asarray(Image.open(io.BytesIO(target.getvalue())).convert("RGBA")))
    assert np.array_equal(decode_png(target.getvalue()), expected)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def written(
    samples: npt.NDArray[np.uint16], depth: int, kind: int, *, interlaced: bool, **more: bytes
) -> bytes:
    """Return a PNG file of samples, H x W x channels, its rows filtered in turns by none of the neighbours or above."""
    height, width, _ = samples.shape
    body = b""
    for row, column, down, across in PASSES if interlaced else ((0, 0, 1, 1),):
        part = samples[row::down, column::across]
        for line in part if part.size else ():
            bits = (line.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1
            body += b"\0" + np.packbits(bits.astype(np.uint8).ravel()).tobytes()
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    extra = b"".join(chunk(name.encode(), content) for name, content in more.items())
    data = chunk(b"IDAT", zlib.compress(body))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (16, 9)])
def test_samples_of_every_depth_and_order_are_read(
    depth: int, kind: int, channels: int, interlaced: bool, size: tuple[int, int]
) -> None:
    if kind and depth < 8:
        return
    samples = np.random.default_rng(depth).integers(0, 2**depth, (*size, channels)).astype(np.uint16)
    found = decode_png(written(samples, depth, kind, interlaced=interlaced))
    full = (2**depth) - 1
    shares = samples / full
    opacity = shares[:, :, -1:] if kind in (4, 6) else 1.0
    colours = shares[:, :, : 3 if kind in (2, 6) else 1]
    expected = 255 * (colours * opacity + 1 - opacity)
    assert np.abs(found - np.broadcast_to(expected, found.shape)).max() <= 1.51


def test_a_clear_colour_is_white() -> None:
    samples = np.array([[[3], [200]]], np.uint16)
    assert decode_png(written(samples, 8, 0, interlaced=False, tRNS=b"\0\3"))[0, :, 0].tolist() == [255, 200]
    palette = {"PLTE": bytes([9, 9, 9, 50, 60, 70]), "tRNS": b"\0"}
    told = decode_png(written(np.array([[[0], [1]]], np.uint16), 1, 3, interlaced=False, **palette))
    assert told[0].tolist() == [[255] * 3, [50, 60, 70]]


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_png_ends_in_no_other_error_than_those_that_are_told(
    tail: bytes, place: int, value: int
) -> None:
    whole = bytearray(png(smooth(12, 12)))
    whole[place % len(whole)] ^= value or 1
    for content in (bytes(whole), b"\x89PNG\r\n\x1a\n" + tail):
        with suppress(Unreadable, ValueError, IndexError, KeyError, struct.error, zlib.error):
            decode_png(content)


def test_an_image_too_large_is_not_unpacked() -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(Unreadable, match="60000 x 60000"):
        decode_png(content)


@pytest.mark.parametrize(
    "content",
    [
        b"P2\n# said\n2 1\n255\n10 200\n",
        b"P5 2 1 255\n" + bytes([10, 200]),
        b"P3 2 1 255 10 10 10 200 200 200",
        b"P6\n2 1\n255\n" + bytes([10, 10, 10, 200, 200, 200]),
        b"P5 2 1 65535\n" + struct.pack(">HH", 10 * 257, 200 * 257),
    ],
)
def test_pgm_and_ppm_are_read(content: bytes) -> None:
    assert decode_netpbm(content)[0].tolist() == [[10] * 3, [200] * 3]


@pytest.mark.parametrize(
    "content", [b"P5 2 1 255\n\1", b"P5 2", b"P2 2 1 99\n1 100", b"P6 0 1 255\n", b"P5 a 1 255\n"]
)
def test_a_damaged_pgm_is_told(content: bytes, tmp_path: Path) -> None:
    with pytest.raises((ValueError, Unreadable, IndexError)):
        decode_netpbm(content)
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(Unreadable):
        read_images(tmp_path / "a.pgm", SHAPE)


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.zeros(SHAPE, np.float32), 1),
        (np.zeros((5, *SHAPE), np.uint8), 5),
        (np.zeros((20, 30), np.uint8), 1),
        (np.zeros((20, 30, 3), np.uint8), 1),
    ],
)
def test_arrays_are_images_or_what_the_model_is_fed(array: Any, count: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    assert len(read_images(tmp_path / "a.npy", SHAPE)) == count


@pytest.mark.parametrize(
    "array",
    [np.zeros((20, 30), np.float32), np.zeros((2, 20, 30), np.uint8), np.array(["a"]), np.array([None])],
)
def test_other_arrays_are_refused(array: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(Unreadable):
        read_images(tmp_path / "a.npy", SHAPE)


@pytest.mark.parametrize("size", [(16, 16), (50, 31), (160, 200), (9, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shaped_as_training_shapes_them(
    size: tuple[int, int], channels: int, tmp_path: Path
) -> None:
    image = smooth(*size)
    (tmp_path / "a.png").write_bytes(png(image))
    (read,) = read_images(tmp_path / "a.png", SHAPE)
    assert np.array_equal(read, image)
    expected = picture_of(Image.fromarray(image), side_px=16, channels=channels).pixels.transpose(1, 2, 0)
    given = image if channels == 3 else np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    assert np.abs(resized(given, 16, 16).astype(int) - expected).max() <= 1


def test_where_pillow_is_other_kinds_are_read_upright(tmp_path: Path) -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, :32] = 255
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "a.jpg", exif=turned, quality=95)
    (found,) = read_images(tmp_path / "a.jpg", SHAPE)
    assert found.shape == (64, 32, 3)
    assert found[:24].min() > 200 > 50 > found[40:].max()
