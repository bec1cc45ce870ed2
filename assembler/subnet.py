"""Subnet: the plain, dense network cut out by Gates, as NumPy arrays.

Everything is folded: no gates, no BatchNorm, no normalisation but what the input asks for.
Legend: C channels in, D channels out, F features, K classes, k kernel side.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from supernet.card import Activation, Architecture
from supernet.shapes import ConvShape, module_shapes, neck_shape, shortcut_shape, stem_shapes
from supernet.shrink import shrink_matrix

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution with bias.

    ``weight`` D x C / groups x k x k, ``bias`` D, float32; ``padding`` in pixels, before and after on both axes;
    ``activation`` follows.
    """

    weight: Array
    bias: Array
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    activation: Activation | None = None

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return self.weight.size + self.bias.size


@dataclass(frozen=True, slots=True)
class DenseBlock:
    """y = shortcut(x) + path(x), ``path`` being convolutions one after the other, none when no module is on.

    ``shortcut`` is None where the trunk passes through unchanged; without ``trunk`` y is the path alone.
    """

    shortcut: Conv | None
    path: tuple[Conv, ...]
    trunk: bool = True


@dataclass(frozen=True, slots=True)
class Subnet:
    """A dense network: perhaps shrink the image, then stem, blocks, neck, mean over all pixels, linear head.

    ``head_weight`` K x F, ``head_bias`` K. Input: float32 pixels 0..255, of which ``input_mean``
    (one number a channel) is subtracted before the stem; division is folded into the stem. ``shrink`` R makes the
    image R x R^T, see ``supernet.shrink``. ``of`` says which output every row of the head counts for, None where each
    is one of its own; the logit of an output is the logsumexp of its rows'.
    """

    input_mean: tuple[float, ...]
    stem: tuple[Conv, ...]
    blocks: tuple[DenseBlock, ...]
    neck: Conv
    head_weight: Array
    head_bias: Array
    shrink: Array | None = None
    of: tuple[int, ...] | None = None

    @property
    def outputs(self) -> int:
        """How many outputs it has."""
        return len(self.head_bias) if self.of is None else max(self.of) + 1

    @property
    def merge(self) -> Array | None:
        """Gathers the rows' probabilities N x K into those of the outputs, K x outputs; None where each is its own."""
        return None if self.of is None else np.eye(self.outputs, dtype=np.float32)[list(self.of)]

    def logits(self, features: Array) -> Array:
        """Return what the head says of features N x F, N x outputs."""
        every = features @ self.head_weight.T + self.head_bias
        if self.of is None:
            return every
        members = (np.flatnonzero(np.equal(self.of, output)) for output in range(self.outputs))
        return np.stack([np.logaddexp.reduce(every[:, rows], axis=1) for rows in members], axis=1)

    def with_head(self, weight: Array, bias: Array) -> "Subnet":
        """Return the same network with another head (K x F, K)."""
        return replace(self, head_weight=weight, head_bias=bias)

    @property
    def convolutions(self) -> tuple[Conv, ...]:
        """All convolutions, in the order of the forward pass."""
        found = [*self.stem]
        for block in self.blocks:
            found += [*(() if block.shortcut is None else (block.shortcut,)), *block.path]
        return (*found, self.neck)

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return sum(c.parameters for c in self.convolutions) + self.head_weight.size + self.head_bias.size


def with_shape(shape: ConvShape, weight: Array, bias: Array) -> Conv:
    """Return the convolution of a shape with some weights."""
    return Conv(weight, bias, shape.stride, shape.padding, shape.groups, shape.activation)


def random_subnet(
    architecture: Architecture,
    counts: tuple[int, ...],
    classes: int,
    seed: int = 0,
    *,
    of: tuple[int, ...] | None = None,
) -> Subnet:
    """Return a Subnet of the given shape with random weights, for measuring a device.

    Args:
        architecture: the sizes, those of ``at(side)`` for a network that shrinks its image.
        counts: active modules of every block.
        classes: rows of the head.
        seed: of the weights.
        of: see ``Subnet``.
    """
    draw = np.random.default_rng(seed)

    def numbers(shape: tuple[int, ...], bound: float) -> Array:
        return (draw.random(shape, np.float32) - np.float32(0.5)) * np.float32(2 * bound)

    def conv(shape: ConvShape) -> Conv:
        bound = (6.0 / (shape.weights / shape.out_channels)) ** 0.5
        return with_shape(shape, numbers(shape.weight_shape, bound), np.zeros(shape.out_channels, np.float32))

    blocks, whole = [], architecture.shrunk_from
    for block, count in zip(architecture.blocks, counts, strict=True):
        shortcut = shortcut_shape(block)
        path = module_shapes(architecture, block, block.hidden_channels(count))
        blocks.append(
            DenseBlock(
                shortcut=None if shortcut is None else conv(shortcut),
                path=tuple(conv(shape) for shape in path),
                trunk=block.identity or shortcut is not None,
            )
        )
    return Subnet(
        input_mean=architecture.input.mean,
        stem=tuple(conv(shape) for shape in stem_shapes(architecture)),
        blocks=tuple(blocks),
        neck=conv(neck_shape(architecture)),
        head_weight=numbers((classes, architecture.neck_channels), 0.1),
        head_bias=np.zeros(classes, np.float32),
        shrink=None if whole is None else shrink_matrix(whole, architecture.input.height),
        of=of,
    )
