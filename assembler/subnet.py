"""Subnet: the plain, dense network cut out by Gates, as NumPy arrays.

Everything is folded: no gates, no BatchNorm, no normalisation but what the input asks for.
Legend: C channels in, D channels out, H hidden channels, F features, K classes, k kernel side.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from supernet.card import Architecture
from supernet.shrink import shrink_matrix

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution with bias.

    ``weight`` D x C x k x k, ``bias`` D, float32; ``padding`` in pixels on all four sides.
    """

    weight: Array
    bias: Array
    stride: int = 1
    padding: int = 0
    relu: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return self.weight.size + self.bias.size


@dataclass(frozen=True, slots=True)
class DenseBlock:
    """y = shortcut(x) + project(relu(expand(x))); ``expand`` and ``project`` are None when no module is on.

    ``shortcut`` is None where the trunk passes through unchanged.
    """

    shortcut: Conv | None
    expand: Conv | None
    project: Conv | None


@dataclass(frozen=True, slots=True)
class Subnet:
    """A dense network: perhaps shrink the image, then stem, blocks, neck, mean over all pixels, linear head.

    ``head_weight`` K x F, ``head_bias`` K. Input: float32 pixels 0..255, of which ``input_mean``
    (one number a channel) is subtracted before the stem; division is folded into the stem. ``shrink`` R makes the
    image R x R^T, see ``supernet.shrink``. Where ``own`` is set, the first so many rows of the head are outputs, and
    all others together are one more, for none of these classes: its logit is the logsumexp of theirs.
    """

    input_mean: tuple[float, ...]
    stem: Conv
    blocks: tuple[DenseBlock, ...]
    neck: Conv
    head_weight: Array
    head_bias: Array
    shrink: Array | None = None
    own: int | None = None

    @property
    def outputs(self) -> int:
        """How many outputs it has."""
        return len(self.head_bias) if self.own is None else self.own + 1

    @property
    def merge(self) -> Array | None:
        """Gathers the rows' probabilities N x K into those of the outputs, K x outputs; None where each is its own."""
        if self.own is None:
            return None
        return np.eye(self.outputs, dtype=np.float32)[np.minimum(np.arange(len(self.head_bias)), self.own)]

    def logits(self, features: Array) -> Array:
        """Return what the head says of features N x F, N x outputs."""
        every = features @ self.head_weight.T + self.head_bias
        if self.own is None:
            return every
        none_of_them = np.logaddexp.reduce(every[:, self.own :], axis=1, keepdims=True)
        return np.concatenate([every[:, : self.own], none_of_them], axis=1)

    def with_head(self, weight: Array, bias: Array) -> "Subnet":
        """Return the same network with another head (K x F, K)."""
        return replace(self, head_weight=weight, head_bias=bias)

    @property
    def convolutions(self) -> tuple[Conv, ...]:
        """All convolutions, in the order of the forward pass."""
        found = [self.stem]
        for block in self.blocks:
            found += [conv for conv in (block.shortcut, block.expand, block.project) if conv is not None]
        return (*found, self.neck)

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return sum(c.parameters for c in self.convolutions) + self.head_weight.size + self.head_bias.size


def random_subnet(
    architecture: Architecture,
    counts: tuple[int, ...],
    classes: int,
    seed: int = 0,
    *,
    own: int | None = None,
) -> Subnet:
    """Return a Subnet of the given shape with random weights, for measuring a device.

    Args:
        architecture: the sizes, those of ``at(side)`` for a network that shrinks its image.
        counts: active modules of every block.
        classes: rows of the head.
        seed: of the weights.
        own: see ``Subnet``.
    """
    draw = np.random.default_rng(seed)

    def conv(d: int, c: int, k: int, stride: int = 1, padding: int = 0, relu: bool = False) -> Conv:
        weight = draw.normal(0.0, (2.0 / (c * k * k)) ** 0.5, (d, c, k, k)).astype(np.float32)
        return Conv(weight, np.zeros(d, np.float32), stride, padding, relu)

    stem, whole = architecture.stem, architecture.shrunk_from
    blocks = []
    for block, count in zip(architecture.blocks, counts, strict=True):
        hidden = count * architecture.module_channels
        shortcut = (
            None
            if block.identity
            else conv(block.out_channels, block.in_channels, block.stride, block.stride)
        )
        expand = project = None
        if count:
            expand = conv(hidden, block.in_channels, block.kernel, block.stride, block.kernel // 2, relu=True)
            project = conv(block.out_channels, hidden, 1)
        blocks.append(DenseBlock(shortcut, expand, project))
    last = architecture.blocks[-1].out_channels
    return Subnet(
        input_mean=architecture.input.mean,
        stem=conv(
            stem.channels, architecture.input.channels, stem.kernel, stem.stride, stem.kernel // 2, relu=True
        ),
        blocks=tuple(blocks),
        neck=conv(architecture.neck_channels, last, 1, relu=True),
        head_weight=draw.normal(0, 0.05, (classes, architecture.neck_channels)).astype(np.float32),
        head_bias=np.zeros(classes, np.float32),
        shrink=None if whole is None else shrink_matrix(whole, architecture.input.height),
        own=own,
    )
