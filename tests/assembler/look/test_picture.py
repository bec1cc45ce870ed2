"""A picture holds what it shows."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from assembler.look.picture import picture


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_picture_holds_the_pixels_of_its_image(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), np.uint8)
    png = base64.b64decode(picture(image).removeprefix("data:image/png;base64,"))
    expected = image.transpose(1, 2, 0) if channels == 3 else image[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)
