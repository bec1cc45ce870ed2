"""Cost: what a choice of modules costs on a Device: latency, memory, size.

Legend: L blocks, M modules of a block, K classes. MB = 10^6 bytes. Everything follows from sizes alone;
no network is built. All figures only rise when a module is switched on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from assembler.device import Profile
from supernet.card import Architecture, Block

FLOAT_BYTES = 4
# What the file holds besides weights, rounded up: a convolution is its node and two tensor headers.
CONV_BYTES = 260
ADD_BYTES = 70
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


def merge_bytes(rows: int, own: int) -> int:
    """Return the bytes of what gathers a head's rows into so many outputs of their own and one of all others."""
    return FLOAT_BYTES * rows * (own + 1) + CONV_BYTES


def peak_activation_bytes(architecture: Architecture, counts: Sequence[int]) -> int:
    """Return the bytes of all tensors alive at the worst moment of one forward pass, batch 1, float32."""
    blocks = (row[n] for row, n in zip(activation_table(architecture), counts, strict=True))
    return max(floor_activation_bytes(architecture), *blocks)


def macs(architecture: Architecture, counts: Sequence[int], classes: int) -> int:
    """Return the multiply-accumulates of one forward pass, batch 1."""
    stem = architecture.stem
    height, width = _stem_side(architecture)
    total = height * width * stem.channels * architecture.input.channels * stem.kernel**2
    if (whole := architecture.shrunk_from) is not None:
        side = architecture.input.height
        total += architecture.input.channels * side * whole * (whole + side)
    for block, count in zip(architecture.blocks, counts, strict=True):
        hidden = count * architecture.module_channels
        weights = hidden * (block.in_channels * block.kernel**2 + block.out_channels)
        total += _out_pixels(block) * (weights + _shortcut_weights(block))
    last = architecture.blocks[-1]
    total += _out_pixels(last) * last.out_channels * architecture.neck_channels
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
    stem, last = architecture.stem, architecture.blocks[-1].out_channels
    names = FRAME_BYTES + (FLOAT_BYTES * architecture.input.channels + CONV_BYTES) * any(
        architecture.input.mean
    )
    head = FLOAT_BYTES * classes * (architecture.neck_channels + 1)
    whole, side = architecture.shrunk_from, architecture.input.height
    shrink = 0 if whole is None else 2 * (FLOAT_BYTES * whole * side + CONV_BYTES)
    return (
        names
        + shrink
        + _conv_bytes(stem.channels, architecture.input.channels, stem.kernel)
        + _conv_bytes(architecture.neck_channels, last, 1)
        + head
    )


def floor_activation_bytes(architecture: Architecture) -> int:
    """Return the peak of live bytes outside the blocks: at the stem or at the neck."""
    image, stem, last = architecture.input, architecture.stem, architecture.blocks[-1]
    height, width = _stem_side(architecture)
    copies = 2 if any(image.mean) else 1
    seen = image.channels * image.height * image.width
    if architecture.shrunk_from is None:
        at_input, at_stem = 0, seen * copies + stem.channels * height * width
    else:  # while rows are shrunk, and then, without the whole image, at the stem
        whole = architecture.shrunk_from
        at_input = image.channels * whole * (whole * copies + image.height)
        at_stem = seen + stem.channels * height * width
    at_neck = _out_pixels(last) * (last.out_channels + architecture.neck_channels)
    return FLOAT_BYTES * max(at_input, at_stem, at_neck)


def _conv_bytes(out_channels: int, in_channels: int, kernel: int) -> int:
    return FLOAT_BYTES * out_channels * (in_channels * kernel**2 + 1) + CONV_BYTES


def _block_bytes(architecture: Architecture, block: Block, count: int) -> int:
    hidden = count * architecture.module_channels
    total = 0 if block.identity else _conv_bytes(block.out_channels, block.in_channels, block.stride)
    if count:
        total += _conv_bytes(hidden, block.in_channels, block.kernel) + _conv_bytes(
            block.out_channels, hidden, 1
        )
        total += ADD_BYTES
    return total


def _block_activations(architecture: Architecture, block: Block, count: int) -> int:
    given = block.in_channels * block.height * block.width
    result = block.out_channels * _out_pixels(block)
    hidden = count * architecture.module_channels * _out_pixels(block)
    shortcut = 0 if block.identity else result
    if not count:
        return FLOAT_BYTES * (given + shortcut)
    trunk = given if block.identity else shortcut
    # While expanding, while projecting, while adding.
    return FLOAT_BYTES * max(given + shortcut + hidden, trunk + hidden + result, trunk + 2 * result)


def _shortcut_weights(block: Block) -> int:
    return 0 if block.identity else block.out_channels * block.in_channels * block.stride**2


def _stem_side(architecture: Architecture) -> tuple[int, int]:
    first = architecture.blocks[0]
    return first.height, first.width


def _out_pixels(block: Block) -> int:
    return (block.height // block.stride) * (block.width // block.stride)
