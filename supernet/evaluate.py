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
MOST_AT_ONCE = 1_500_000


def as_batch(images: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images N x C x H x W uint8 as float32 on a device, channels last."""
    return torch.from_numpy(images).to(device, torch.float32).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def logits_of(supernet: Supernet, gates: Gates, calibration: Split, data: Split) -> npt.NDArray[np.float32]:
    """Return the logits, N x K, of a sub-network calibrated on other images."""
    device = supernet.mean.device
    statistics = calibrate(supernet, gates, as_batch(calibration.images, device))
    chunk = max(1, MOST_AT_ONCE // int(np.prod(data.images.shape[1:])))
    parts = [
        supernet(as_batch(data.images[start : start + chunk], device), gates, statistics).cpu().numpy()
        for start in range(0, len(data), chunk)
    ]
    return np.concatenate(parts)


def accuracy_of(
    supernet: Supernet, gates: Gates, calibration: Split, data: Split, classes: tuple[int, ...] | None = None
) -> float:
    """Return the share of images classified right, among ``classes`` alone where they are given."""
    chosen = list(range(supernet.head.out_features)) if classes is None else list(classes)
    mine = data.of_classes(chosen)
    logits = logits_of(supernet, gates, calibration, mine)[:, chosen]
    return float((logits.argmax(axis=1) == mine.labels).mean())
