"""Cost: what a choice of modules costs on a Device: latency, memory, size.

Legend: L blocks, M modules of a block, K classes. MB = 10^6 bytes. Everything follows from sizes alone;
no network is built. All figures only rise when a module is switched on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from assembler.device import Profile
from supernet.card import Activation, Architecture, Block
from supernet.shapes import ConvShape, module_shapes, neck_shape, shortcut_shape, stem_shapes

FLOAT_BYTES = 4
# What the file holds besides weights, rounded up: a convolution is its node and two tensor headers.
CONV_BYTES = 260
ADD_BYTES = 70
CLIP_BYTES = 160
FRAME_BYTES = 500
# Class names, input description and the like, as stored with every model; callers who know better say so.
METADATA_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Cost:
    """Predicted figures of one model: latency of one image, peak memory while running, size of the file."""

    latency_ms: float
    memory_mb: float
    size_mb: float


def cost_of(
    architecture: Architecture,
    counts: Sequence[int],
    classes: int,
    profile: Profile,
    *,
    metadata_bytes: int = METADATA_BYTES,
) -> Cost:
    """Return the Cost of a model.

    Args:
        architecture: the supernet's sizes.
        counts: modules on in each block, L numbers.
        classes: rows of the head, 1 or more.
        profile: the device.
        metadata_bytes: what the file says of itself in strings.
    """
    size = size_bytes(architecture, counts, classes, metadata_bytes=metadata_bytes)
    memory = profile.memory.predict_mb(size, peak_activation_bytes(architecture, counts))
    return Cost(profile.latency.predict_ms(counts), memory, size / 1e6)


def size_bytes(
    architecture: Architecture, counts: Sequence[int], classes: int, *, metadata_bytes: int = METADATA_BYTES
) -> int:
    """Return the bytes of the ONNX file, at most a few kilobytes too many and never too few."""
    blocks = sum(row[n] for row, n in zip(size_table(architecture), counts, strict=True))
    return fixed_bytes(architecture, classes) + metadata_bytes + blocks


def merge_bytes(rows: int, outputs: int) -> int:
    """Return the bytes of what gathers a head's rows into outputs."""
    return FLOAT_BYTES * rows * outputs + CONV_BYTES


def peak_activation_bytes(architecture: Architecture, counts: Sequence[int]) -> int:
    """Return the bytes of all tensors alive at the worst moment of one forward pass, batch 1, float32."""
    blocks = (row[n] for row, n in zip(activation_table(architecture), counts, strict=True))
    return max(floor_activation_bytes(architecture), *blocks)


def macs(architecture: Architecture, counts: Sequence[int], classes: int) -> int:
    """Return the multiply-accumulates of one forward pass, batch 1."""
    total = sum(shape.macs for shape in (*stem_shapes(architecture), neck_shape(architecture)))
    if (whole := architecture.shrunk_from) is not None:
        side = architecture.input.height
        total += architecture.input.channels * side * whole * (whole + side)
    for block, count in zip(architecture.blocks, counts, strict=True):
        total += sum(shape.macs for shape in _block_shapes(architecture, block, count))
    return total + classes * architecture.neck_channels


@lru_cache(maxsize=16)
def size_table(architecture: Architecture) -> tuple[tuple[int, ...], ...]:
    """Return the bytes of every block with 0..M modules on, L rows."""
    return tuple(
        tuple(_block_bytes(architecture, block, n) for n in range(block.modules + 1))
        for block in architecture.blocks
    )


@lru_cache(maxsize=16)
def activation_table(architecture: Architecture) -> tuple[tuple[int, ...], ...]:
    """Return the peak of live bytes while a block runs with 0..M modules on, L rows."""
    return tuple(
        tuple(_block_activations(architecture, block, n) for n in range(block.modules + 1))
        for block in architecture.blocks
    )


def fixed_bytes(architecture: Architecture, classes: int) -> int:
    """Return the bytes of all that is in every file: stem, neck, head and the frame around them."""
    names = FRAME_BYTES + (FLOAT_BYTES * architecture.input.channels + CONV_BYTES) * any(
        architecture.input.mean
    )
    head = FLOAT_BYTES * classes * (architecture.neck_channels + 1)
    whole, side = architecture.shrunk_from, architecture.input.height
    shrink = 0 if whole is None else 2 * (FLOAT_BYTES * whole * side + CONV_BYTES)
    convolutions = (*stem_shapes(architecture), neck_shape(architecture))
    return names + shrink + sum(_conv_bytes(shape) for shape in convolutions) + head


def floor_activation_bytes(architecture: Architecture) -> int:
    """Return the peak of live bytes outside the blocks: at the stem or at the neck."""
    image, stem, neck = architecture.input, stem_shapes(architecture), neck_shape(architecture)
    copies = 2 if any(image.mean) else 1
    seen = image.channels * image.height * image.width
    if architecture.shrunk_from is None:
        at_input, given = 0, seen * copies
    else:  # while rows are shrunk, and then, without the whole image, at the stem
        whole = architecture.shrunk_from
        at_input, given = image.channels * whole * (whole * copies + image.height), seen
    tensors = (given, *(_out(shape) for shape in stem))
    alive = [before + after for before, after in pairwise(tensors)]
    at_neck = neck.in_channels * neck.height * neck.width + _out(neck)
    return FLOAT_BYTES * max(at_input, at_neck, *alive)


def _block_shapes(architecture: Architecture, block: Block, count: int) -> tuple[ConvShape, ...]:
    shortcut = shortcut_shape(block)
    path = module_shapes(architecture, block, block.hidden_channels(count))
    return path if shortcut is None else (shortcut, *path)


def _out(shape: ConvShape) -> int:
    return shape.out_channels * shape.out_pixels


def _conv_bytes(shape: ConvShape) -> int:
    clip = 0 if shape.activation is not Activation.RELU6 else CLIP_BYTES
    return FLOAT_BYTES * (shape.weights + shape.out_channels) + CONV_BYTES + clip


def _block_bytes(architecture: Architecture, block: Block, count: int) -> int:
    shapes = _block_shapes(architecture, block, count)
    added = block.hidden_channels(count) > 0 and (block.identity or shortcut_shape(block) is not None)
    return sum(_conv_bytes(shape) for shape in shapes) + ADD_BYTES * added


def _block_activations(architecture: Architecture, block: Block, count: int) -> int:
    given = block.in_channels * block.height * block.width
    shortcut = shortcut_shape(block)
    path = module_shapes(architecture, block, block.hidden_channels(count))
    kept = 0 if shortcut is None else _out(shortcut)
    if not path:
        return FLOAT_BYTES * (given + kept)
    # The shortcut is computed first; an identity keeps what was given alive to the end.
    trunk = given if block.identity else kept
    result = _out(path[-1])
    alive = [given + kept + _out(path[0])]
    alive += [trunk + _out(before) + _out(after) for before, after in pairwise(path)]
    if trunk:
        alive.append(trunk + 2 * result)
    return FLOAT_BYTES * max(alive)
