"""The nominal device: what assemblers are trained for, before any device was measured.

Its figures are those of one thread of a current x86 server core running onnxruntime, rounded.
"""

from datetime import UTC, datetime

from assembler.device import LatencyFit, Machine, MemoryFit, Profile, Quality, ShrunkFit
from supernet.card import Architecture
from supernet.elastic import module_macs

MS_PER_MMAC = 0.016
MS_PER_BLOCK = 0.004
# Of stem, trunk, neck and head; half of it follows the pixels.
MS_ALWAYS = 0.02


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
    table = tuple(
        tuple(
            0.0 if n == 0 else MS_PER_BLOCK + n * macs * 1e-6 * MS_PER_MMAC for n in range(block.modules + 1)
        )
        for block, macs in zip(architecture.blocks, module_macs(architecture), strict=True)
    )
    always = MS_ALWAYS * (1 + pixels) / 2
    return LatencyFit(table=table, scale=1.0, offset_ms=always, margin=0.0)
