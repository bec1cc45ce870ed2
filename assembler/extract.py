"""Cut the Subnet of some Gates out of a supernet: slice, fold BatchNorm, keep the head's rows of the task.

Legend: D channels out, C channels in, F features, K classes of the task.
"""

import numpy as np
import torch
from torch import Tensor

from assembler.subnet import Array, Conv, DenseBlock, Subnet
from supernet.gates import Gates
from supernet.layers import NORM_EPSILON, Moments, NormConv, Statistics
from supernet.model import Supernet
from supernet.shrink import shrink_matrix


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


def _fold(
    weight: Tensor, scale: Tensor, shift: Tensor, moments: Moments, stride: int, padding: int, relu: bool
) -> Conv:
    factor = scale / torch.sqrt(moments.variance + NORM_EPSILON)
    folded = weight * factor[:, None, None, None]
    return Conv(_array(folded), _array(shift - moments.mean * factor), stride, padding, relu)


def _fold_conv(layer: NormConv, moments: Moments, relu: bool, weight: Tensor | None = None) -> Conv:
    kernel = layer.weight if weight is None else weight
    return _fold(kernel, layer.scale, layer.shift, moments, layer.stride, layer.padding, relu)


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
    stem = _fold_conv(supernet.stem, next(moments), True, supernet.stem.weight / supernet.std)
    blocks = []
    for block, active in zip(supernet.modular_blocks, gates.active, strict=True):
        shortcut = None if block.shortcut is None else _fold_conv(block.shortcut, next(moments), False)
        expand = project = None
        if active:
            kept = block.rows(active)
            expand = _fold(
                block.expand[kept],
                block.scale[kept],
                block.shift[kept],
                next(moments),
                block.stride,
                block.padding,
                True,
            )
            weight = _array(block.project[:, kept])
            project = Conv(weight, np.zeros(len(weight), np.float32))
        blocks.append(DenseBlock(shortcut, expand, project))
    neck = _fold_conv(supernet.neck, next(moments), True)
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
