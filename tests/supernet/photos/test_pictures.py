"""One picture comes out upright, on white and square, or with the reason why it cannot be used."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supernet.errors import PictureUnusable
from supernet.photos.findings import Kind
from supernet.photos.pictures import Picture, picture_of, read_picture
from tests.photos import encoded, photo, png_header


def read(content: bytes, side_px: int = 16, channels: int = 3) -> Picture:
    return read_picture(content, side_px=side_px, channels=channels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_every_format_becomes_a_square_of_bytes(kind: str) -> None:
    picture = read(encoded(Image.new("RGB", (40, 20), (200, 100, 50)), kind))
    assert picture.pixels.shape == (3, 16, 16)
    assert picture.pixels.dtype == np.uint8
    assert picture.sides_px == (40, 20)
    assert np.abs(picture.pixels.astype(int) - np.array([200, 100, 50])[:, None, None]).max() <= 6


def test_a_picture_is_shrunk_by_antialiased_bilinear_filtering() -> None:
    image = photo(1, (64, 48))
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(read(encoded(image)).pixels, expected)
    assert read(encoded(image)).pixels.std() < 40 < np.asarray(image).std()


def test_gray_is_one_channel() -> None:
    image = photo(2)
    gray = read(encoded(image), channels=1).pixels
    assert gray.shape == (1, 16, 16)
    assert np.array_equal(gray[0], np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BILINEAR)))


def test_gray_of_16_bits_is_scaled_and_not_clipped() -> None:
    deep = np.repeat(np.array([0, 257 * 100, 65535], np.uint16), 16)[None].repeat(48, axis=0)
    for kind in ("PNG", "TIFF"):
        pixels = read(encoded(Image.fromarray(deep), kind), side_px=48).pixels
        assert pixels[0, 0, [0, 24, 47]].tolist() == [0, 100, 255]


def test_a_picture_that_is_decoded_is_shaped_as_its_file_is() -> None:
    image = photo(2)
    picture, of_file = picture_of(image, side_px=16, channels=3), read(encoded(image))
    assert np.array_equal(picture.pixels, of_file.pixels)
    assert (picture.digest, picture.sides_px) == (of_file.digest, of_file.sides_px)
    gray = image.convert("L")
    assert np.array_equal(
        picture_of(gray.resize((16, 16)), side_px=16, channels=1).pixels[0], gray.resize((16, 16))
    )


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused(dtype: Any) -> None:
    with pytest.raises(PictureUnusable, match="32 bits"):
        read(encoded(Image.fromarray(np.full((9, 9), 3, dtype)), "TIFF"))


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (200, 0, 0, 0))
    half = Image.new("LA", (20, 20), (0, 128))
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([9, 9, 9, 0, 0, 255])
    assert read(encoded(clear)).pixels.min() == 255
    assert set(read(encoded(half)).pixels.ravel().tolist()) <= {126, 127, 128}
    assert read(encoded(palette)).pixels[:, 0, 0].tolist() == [0, 0, 255]
    assert read(encoded(palette, transparency=1)).pixels.min() == 255
    assert read(encoded(palette, "GIF", transparency=1)).pixels.min() == 255


def test_print_colours_are_converted() -> None:
    cyan = Image.new("CMYK", (20, 20), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        red, green, blue = read(encoded(cyan, kind)).pixels[:, 8, 8].tolist()
        assert red < 20
        assert min(green, blue) > 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_once(kind: str, orientation: int) -> None:
    corners = Image.new("L", (32, 32), 0)
    corners.paste(255, (0, 0, 16, 16))
    corners.paste(128, (16, 0, 32, 16))
    # The orientation tells on which sides of the picture the stored row 0 and column 0 are.
    turned = {
        1: corners,
        2: corners.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: corners.rotate(180),
        4: corners.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: corners.transpose(Image.Transpose.TRANSPOSE),
        6: corners.rotate(90),
        7: corners.transpose(Image.Transpose.TRANSVERSE),
        8: corners.rotate(-90),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read(encoded(turned, kind, exif=exif), side_px=32, channels=1).pixels[0].astype(int)
    assert np.abs(pixels[[4, 4, 28, 28], [4, 28, 4, 28]] - [255, 128, 0, 0]).max() < 12


def test_damaged_metadata_does_not_spoil_the_pixels() -> None:
    content = encoded(photo(3), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(read(content).pixels, read(encoded(photo(3), "JPEG")).pixels)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_is_used(kind: str) -> None:
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    picture = read(encoded(first, kind, save_all=True, append_images=[second]))
    assert picture.several_frames
    assert picture.pixels[0].min() > 240
    assert picture.pixels[2].max() < 15
    assert not read(encoded(first, kind)).several_frames


def test_the_preview_in_a_photo_of_a_phone_is_no_frame() -> None:
    assert not read(encoded(photo(4), "MPO", save_all=True, append_images=[photo(5)])).several_frames


def test_broken_pictures_are_told_without_an_address() -> None:
    for whole in (
        encoded(photo(6, (200, 200)), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
    ):
        with pytest.raises(PictureUnusable) as caught:
            read(whole[: len(whole) // 2])
        assert caught.value.kind is Kind.BROKEN
    for content in (b"", b"a text that is named .jpg", b"\x89PNG"):
        with pytest.raises(PictureUnusable, match="no image of a known format"):
            read(content)


@pytest.mark.parametrize("side", [7072, 12_000, 20_000, 2**31 - 1])
def test_a_picture_too_large_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(PictureUnusable) as caught:
        read(png_header(side, side))
    assert caught.value.kind is Kind.LARGE


def test_up_to_50_million_pixels_are_decoded() -> None:
    with pytest.raises(PictureUnusable) as caught:
        read(png_header(7071, 7071))
    assert caught.value.kind is Kind.BROKEN
    assert "truncated" in caught.value.detail


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(PictureUnusable, match="30 x 7 px") as caught:
        read(encoded(photo(7, (30, 7))))
    assert caught.value.kind is Kind.SMALL
    assert read(encoded(photo(7, (8, 8)))).sides_px == (8, 8)


def test_a_large_photo_is_decoded_at_a_fraction_and_looks_the_same() -> None:
    smooth = photo(8, (8, 8)).resize((1024, 768), Image.Resampling.BICUBIC)
    content = encoded(smooth, "JPEG", quality=95)
    with Image.open(io.BytesIO(content)) as image:
        whole = encoded(image.convert("RGB"))
        exact = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    picture = read(content)
    assert picture.sides_px == (1024, 768)
    assert np.abs(picture.pixels.astype(int) - exact).mean() < 2
    assert picture.digest != read(whole).digest
    assert read(content, side_px=128).digest == read(whole).digest


def test_the_digest_is_of_the_pixels_and_not_of_the_file() -> None:
    image = photo(9)
    digest = read(encoded(image)).digest
    assert read(encoded(image, "BMP"), channels=1, side_px=8).digest == digest
    assert read(encoded(image.transpose(Image.Transpose.TRANSPOSE))).digest != digest
    assert read(encoded(Image.new("L", (8, 32)))).digest != read(encoded(Image.new("L", (32, 8)))).digest
