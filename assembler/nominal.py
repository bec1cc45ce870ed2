"""The nominal device: what assemblers are trained for, before any device was measured.

Its figures are those of one thread of a current x86 server core running onnxruntime, rounded.
"""

from datetime import UTC, datetime

from assembler.device import LatencyFit, Machine, MemoryFit, Profile, Quality, ShrunkFit
from supernet.card import Architecture, Block, BlockKind
from supernet.shapes import ConvShape, module_macs, module_shapes, neck_shape, stem_shapes

MS_PER_MMAC = 0.016
MS_PER_BLOCK = 0.004
# Of stem, trunk, neck and head of small images; half of it follows the pixels.
MS_ALWAYS = 0.02
# Depthwise convolutions wait for memory, and so do large weights on few pixels.
MS_PER_DEPTHWISE_MMAC = 0.05
MS_PER_MILLION_WEIGHTS = 0.1
MS_PER_INVERTED_BLOCK = 0.03


def nominal_profile(architecture: Architecture) -> Profile:
    """Return the profile of the nominal device for an architecture, at every side."""
    return Profile(
        device="nominal",
        machine=Machine(runtime="onnxruntime", runtime_version="", cpu="", isa=()),
        threads=1,
        supernet="",
        measured_at=datetime(2000, 1, 1, tzinfo=UTC),
        latency=_latency(architecture, 1.0),
        shrunk=tuple(
            ShrunkFit(
                side=side, latency=_latency(architecture.at(side), (side / architecture.input.height) ** 2)
            )
            for side in architecture.sides
        ),
        memory=MemoryFit(base_mb=0.0, per_size=1.0, per_activation=1.0, margin=0.0),
        quality=Quality(
            nets=0, latency_mape=0.0, latency_within_tenth=0.0, memory_nets=0, memory_mape=0.0, duration_s=0.0
        ),
    )


def _latency(architecture: Architecture, pixels: float) -> LatencyFit:
    inverted = all(block.kind is BlockKind.INVERTED for block in architecture.blocks)
    table = tuple(
        tuple(
            _inverted_ms(architecture, block, n) if inverted else _fused_ms(n, macs)
            for n in range(block.modules + 1)
        )
        for block, macs in zip(architecture.blocks, module_macs(architecture), strict=True)
    )
    always = _always_ms(architecture) if inverted else MS_ALWAYS * (1 + pixels) / 2
    return LatencyFit(table=table, scale=1.0, offset_ms=always, margin=0.0)


def _fused_ms(modules: int, macs: int) -> float:
    return 0.0 if modules == 0 else MS_PER_BLOCK + modules * macs * 1e-6 * MS_PER_MMAC


def _inverted_ms(architecture: Architecture, block: Block, modules: int) -> float:
    if modules == 0:
        return 0.0
    hidden, always = (
        sum(map(_conv_ms, module_shapes(architecture, block, block.hidden_channels(count))))
        for count in (modules, 0)
    )
    return hidden - always + MS_PER_INVERTED_BLOCK


def _always_ms(architecture: Architecture) -> float:
    shapes = [*stem_shapes(architecture), neck_shape(architecture)]
    for block in architecture.blocks:
        shapes += module_shapes(architecture, block, block.always_channels)
    return sum(map(_conv_ms, shapes))


def _conv_ms(shape: ConvShape) -> float:
    per_mmac = MS_PER_DEPTHWISE_MMAC if shape.groups > 1 else MS_PER_MMAC
    return 1e-6 * (shape.macs * per_mmac + shape.weights * MS_PER_MILLION_WEIGHTS)
