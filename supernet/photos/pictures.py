"""One picture as a user has it, decoded to a square of uint8 pixels. Loads no torch.

Legend: C channels, S side of the square in px.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from supernet.errors import PictureUnusable
from supernet.photos.findings import Kind

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MOST_PIXELS = 50_000_000
FEWEST_SIDE_PX = 8
# A JPEG is decoded at a half, quarter or eighth where that still leaves so many times the side that is asked for.
DRAFT_TIMES = 4
TRANSPARENT_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels C x S x S uint8; the digest of the pixels before they were resized; the sides as stored, in px."""

    pixels: npt.NDArray[np.uint8]
    digest: bytes
    sides_px: tuple[int, int]
    several_frames: bool


def read_picture(content: bytes, *, side_px: int, channels: int) -> Picture:
    """Decode a picture: first frame, upright, on white, resized to a square by antialiased bilinear filtering.

    Args:
        content: of the file.
        side_px: side of the square; the picture's aspect ratio is not kept.
        channels: 1 for gray, 3 for RGB.

    Raises:
        PictureUnusable: it is broken (or its pixels are neither of 8 nor of 16 bits), has more than 50 million pixels
            by its header, in which case it is not decoded, or has a side under 8 px.
    """
    with warnings.catch_warnings():
        # Doubts of the decoder about size, palette or metadata are not the user's business: it decodes or it does not.
        warnings.simplefilter("ignore")
        try:
            return _decode(content, side_px, channels)
        except PictureUnusable:
            raise
        except Image.DecompressionBombError as error:
            raise PictureUnusable(Kind.LARGE, "") from error
        except UnidentifiedImageError as error:
            raise PictureUnusable(Kind.BROKEN, "no image of a known format") from error
        # The decoders raise whatever their parsing runs into (struct.error, SyntaxError, IndexError, ...).
        except Exception as error:
            raise PictureUnusable(Kind.BROKEN, str(error) or type(error).__name__) from error


def _decode(content: bytes, side_px: int, channels: int) -> Picture:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        sides = image.size
        if sides[0] * sides[1] > MOST_PIXELS:
            raise PictureUnusable(Kind.LARGE, f"{sides[0]} x {sides[1]} px")
        if min(sides) < FEWEST_SIDE_PX:
            raise PictureUnusable(Kind.SMALL, f"{sides[0]} x {sides[1]} px")
        # The second frame of a phone's MPO is a preview or a depth map, no animation.
        several = bool(getattr(image, "is_animated", False)) and image.format != "MPO"
        image.draft(None, (DRAFT_TIMES * side_px, DRAFT_TIMES * side_px))
        image.load()
        picture = picture_of(image, side_px=side_px, channels=channels)
    return replace(picture, sides_px=sides, several_frames=several)


def picture_of(image: Image.Image, *, side_px: int, channels: int) -> Picture:
    """Shape one frame that is decoded: upright, on white, resized to a square by antialiased bilinear filtering.

    Args:
        image: of any mode of 8 or 16 bits.
        side_px: side of the square; the picture's aspect ratio is not kept.
        channels: 1 for gray, 3 for RGB.

    Raises:
        PictureUnusable: its pixels are neither of 8 nor of 16 bits.
    """
    rgb = _upright(_as_rgb(image), image)
    digest = hashlib.sha256(b"%d x %d " % rgb.size + rgb.tobytes()).digest()
    plane = rgb if channels == 3 else rgb.convert("L")
    shaped = np.asarray(plane.resize((side_px, side_px), Image.Resampling.BILINEAR), np.uint8)
    pixels = shaped[None] if channels == 1 else np.ascontiguousarray(shaped.transpose(2, 0, 1))
    return Picture(pixels, digest, image.size, several_frames=False)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        deep = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise PictureUnusable(Kind.BROKEN, "pixels of 32 bits; 8 or 16 are needed")
    if image.mode in TRANSPARENT_MODES or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white
    return image.convert("RGB")


def _upright(rgb: Image.Image, source: Image.Image) -> Image.Image:
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation)
    # Damaged metadata does not make the pixels worse.
    except Exception:
        return rgb
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return rgb if turn is None else rgb.transpose(turn)
