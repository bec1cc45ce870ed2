"""Cut the Subnet of some Gates out of a supernet: slice, fold BatchNorm, keep the head's rows of the task.

Legend: K classes of the task.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from assembler.subnet import Array, Conv, DenseBlock, Subnet, with_shape
from supernet.gates import Gates
from supernet.layers import Layer, Moments, Statistics
from supernet.model import Supernet
from supernet.shrink import shrink_matrix


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


def _fold(layer: Layer, moments: Iterator[Moments], epsilon: float) -> Conv:
    weight = layer.weight
    if layer.norm is None:
        bias = torch.zeros(layer.shape.out_channels)
    else:
        (scale, shift), found = layer.norm, next(moments)
        factor = scale / torch.sqrt(found.variance + epsilon)
        weight, bias = weight * factor[:, None, None, None], shift - found.mean * factor
    return with_shape(layer.shape, _array(weight), _array(bias))


@torch.no_grad()
def extract(supernet: Supernet, gates: Gates, statistics: Statistics, rows: tuple[int, ...]) -> Subnet:
    """Return the dense network that computes what the supernet computes with these gates and statistics.

    Args:
        supernet: where it is cut out.
        gates: modules that stay.
        statistics: of its normalised layers, see ``supernet.model.calibrate``.
        rows: classes of the head, in the order the outputs must have.
    """
    statistics.start()
    moments = iter(statistics.moments)
    epsilon = supernet.architecture.norm_epsilon
    first, *more = (stem.layer for stem in supernet.stems)
    from_pixels = replace(first, weight=first.weight / supernet.std)
    stem = tuple(_fold(layer, moments, epsilon) for layer in (from_pixels, *more))
    blocks = []
    for block, active in zip(supernet.modular_blocks, gates.active, strict=True):
        shortcut = None if block.shortcut is None else _fold(block.shortcut.layer, moments, epsilon)
        path = tuple(_fold(layer, moments, epsilon) for layer in block.layers(active))
        blocks.append(DenseBlock(shortcut, path, block.trunk))
    neck = _fold(supernet.neck.layer, moments, epsilon)
    head = supernet.head
    return Subnet(
        input_mean=supernet.architecture.input.mean,
        stem=stem,
        blocks=tuple(blocks),
        neck=neck,
        head_weight=_array(head.weight[list(rows)]),
        head_bias=_array(head.bias[list(rows)]),
        shrink=None if gates.side is None else shrink_matrix(supernet.architecture.input.height, gates.side),
    )
