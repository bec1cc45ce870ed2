"""Random changes of images that keep their label.

Legend: N images, C channels, H height, W width. Pixels 0..255.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes that keep the label.

    Shift in pixels, left-right flip, share of images with an erased square; ``zoom`` crops to a part of at least
    1 - zoom of the area, sides up to a third longer or shorter, and shows that at full size; ``color`` scales
    brightness, contrast and saturation by factors of 1 - color to 1 + color.
    """

    shift_px: int = 2
    flip: bool = False
    erase: float = 0.25
    zoom: float = 0.0
    color: float = 0.0


def augment(images: Tensor, kind: Augmentation, draw: torch.Generator) -> Tensor:
    """Return changed copies of images, N x C x H x W uint8, as float32 0..255.

    Pixels shifted in are 0; an erased square has a quarter of the image's sides and takes the mean pixel.
    """
    moved = _moved(images, kind, draw)
    if kind.zoom:
        moved = _zoomed(moved, kind.zoom, draw)
    if kind.color:
        moved = _recolored(moved, kind.color, draw)
    return _erased(moved, kind.erase, draw) if kind.erase else moved


def _moved(images: Tensor, kind: Augmentation, draw: torch.Generator) -> Tensor:
    n, _, h, w = images.shape
    pad = kind.shift_px
    padded = F.pad(images, (pad, pad, pad, pad))
    top = torch.randint(0, 2 * pad + 1, (n, 1), generator=draw)
    left = torch.randint(0, 2 * pad + 1, (n, 1), generator=draw)
    rows = top + torch.arange(h)
    columns = left + torch.arange(w)
    if kind.flip:
        flipped = torch.rand((n, 1), generator=draw) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    index = torch.arange(n, device=images.device)
    moved = padded.permute(0, 2, 3, 1)[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).float()


def _zoomed(images: Tensor, zoom: float, draw: torch.Generator) -> Tensor:
    """Source: random resized crops (Szegedy et al., arXiv 1409.4842)."""
    n = len(images)
    area = 1 - zoom * torch.rand(n, generator=draw)
    aspect = torch.exp((2 * torch.rand(n, generator=draw) - 1) * math.log(4 / 3))
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], dim=1).clamp(max=1.0)
    centre = (2 * torch.rand((n, 2), generator=draw) - 1) * (1 - size)
    change = torch.zeros(n, 2, 3)
    change[:, 0, 0], change[:, 1, 1], change[:, :, 2] = size[:, 0], size[:, 1], centre
    grid = F.affine_grid(change.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _recolored(images: Tensor, color: float, draw: torch.Generator) -> Tensor:
    factors = 1 + color * (2 * torch.rand((3, len(images), 1, 1, 1), generator=draw) - 1)
    brightness, contrast, saturation = factors.to(images.device).unbind()
    gray = images.mean(dim=1, keepdim=True)
    saturated = gray + saturation * (images - gray)
    middle = gray.mean(dim=(2, 3), keepdim=True)
    changed: Tensor = brightness * (middle + contrast * (saturated - middle))
    return changed.clamp(0, 255)


def _erased(images: Tensor, share: float, draw: torch.Generator) -> Tensor:
    n, _, h, w = images.shape
    side_h, side_w = max(1, h // 4), max(1, w // 4)
    y = torch.randint(0, h - side_h + 1, (n, 1), generator=draw)
    x = torch.randint(0, w - side_w + 1, (n, 1), generator=draw)
    chosen = torch.rand((n, 1), generator=draw) < share
    inside_h = (torch.arange(h) >= y) & (torch.arange(h) < y + side_h) & chosen
    inside_w = (torch.arange(w) >= x) & (torch.arange(w) < x + side_w)
    hole = (inside_h[:, :, None] & inside_w[:, None, :])[:, None].to(images.device)
    return torch.where(hole, images.mean(dim=(2, 3), keepdim=True), images)
