"""What several tests of this room start from."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from assembler.device import LatencyFit, Machine, MemoryFit, Profile, Quality
from supernet.card import Architecture
from supernet.design import small_design
from tests.assembler.measuring import request, slow
from tests.shapes import SMALL


@pytest.fixture(scope="session")
def shipped() -> Architecture:
    """The shape of the shipped supernet: 8 blocks, 44 modules."""
    return small_design(channels=1, side_px=28)


@pytest.fixture(scope="session")
def profile(shipped: Architecture) -> Profile:
    """A profile of the shipped shape with figures like those of a small x86 core."""
    return Profile(
        device="local",
        machine=Machine(runtime="onnxruntime", runtime_version="1.0", cpu="a cpu", isa=("avx2",)),
        threads=1,
        supernet="0" * 64,
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        latency=LatencyFit(
            table=tuple(
                tuple(0.0 if n == 0 else 0.004 + (0.0047 + 0.0003 * i) * n for n in range(b.modules + 1))
                for i, b in enumerate(shipped.blocks)
            ),
            scale=1.02,
            offset_ms=0.018,
            margin=0.04,
        ),
        memory=MemoryFit(base_mb=0.4, per_size=3.1, per_activation=1.3, margin=0.05),
        quality=Quality(
            nets=24,
            latency_mape=0.02,
            latency_within_tenth=1.0,
            memory_nets=9,
            memory_mape=0.03,
            duration_s=8.0,
        ),
    )


@pytest.fixture
def quick(tmp_path: Path) -> dict[str, object]:
    """A request to measure a small net."""
    return request(tmp_path, SMALL, (1, 1, 1))


@pytest.fixture
def endless(tmp_path: Path) -> dict[str, object]:
    """A request to measure a net that takes long."""
    (tmp_path / "slow").mkdir()
    return {**request(tmp_path / "slow", slow(), (8,) * 4), "percentile": 99}
