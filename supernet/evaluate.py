"""Accuracy of sub-networks on labelled images.

Legend: N images, K classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supernet.data import Split
from supernet.gates import Gates
from supernet.model import Supernet, calibrate

# Numbers (pixels times channels) that go through a network at once; between its layers they are many times as many.
MOST_AT_ONCE, MOST_TO_CALIBRATE = 1_500_000, 16_000_000
# Images of a class to calibrate on.
CALIBRATION_IMAGES = 100


def as_batch(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images N x C x H x W uint8 as float32 on a device, channels last."""
    return torch.from_numpy(images).to(device, torch.float32).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(supernet: Supernet, gates: Gates, calibration: Split, data: Split) -> npt.NDArray[np.float32]:
    """Return the logits, N x K, of a sub-network calibrated on other images."""
    device = supernet.mean.device
    statistics = calibrate(supernet, gates, as_batch(calibration.images, device))
    chunk = images_of(data, MOST_AT_ONCE)
    parts = [
        supernet(as_batch(data.images[start : start + chunk], device), gates, statistics).cpu().numpy()
        for start in range(0, len(data), chunk)
    ]
    return np.concatenate(parts)


def to_calibrate(split: Split) -> Split:
    """Return the first images of a split whose every prefix holds the classes equally often: 100 a class.

    Fewer where they are large, since all of them go through every layer together.
    """
    count = min(CALIBRATION_IMAGES * len(np.unique(split.labels)), images_of(split, MOST_TO_CALIBRATE))
    return Split(split.images[:count], split.labels[:count])


def images_of(split: Split, numbers: int) -> int:
    """Return how many images of a split have so many numbers (pixels times channels) together, at least one."""
    return max(1, numbers // int(np.prod(split.images.shape[1:])))


def accuracy_of(
    supernet: Supernet, gates: Gates, calibration: Split, data: Split, classes: tuple[int, ...] | None = None
) -> float:
    """Return the share of images classified right, among ``classes`` alone where they are given."""
    chosen = list(range(supernet.head.out_features)) if classes is None else list(classes)
    mine = data.of_classes(chosen)
    logits = logits_of(supernet, gates, calibration, mine)[:, chosen]
    return float((logits.argmax(axis=1) == mine.labels).mean())
