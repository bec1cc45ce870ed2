"""Picture: an image as PNG. Legend: C channels, H height, W width."""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def picture(image: npt.NDArray[np.uint8]) -> str:
    """Return an image, C x H x W, as the address of a PNG that stands in the address itself.

    Three channels are RGB; of other numbers the first is shown in gray.
    """
    file = io.BytesIO()
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
