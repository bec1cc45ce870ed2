"""The benchmark of photographs: networks that start with published weights and learn a class set, and the table."""

import numpy as np
import pytest

from benchmarks.photos import seconds_of_step, table, trained_alone
from supernet.backbones import LITE0
from supernet.data import DataSet, Split
from supernet.gates import prefix_gates


@pytest.fixture(scope="module")
def colours() -> DataSet:
    """Return images of four noisy colours."""
    draw = np.random.default_rng(0)
    labels = np.arange(64) % 4
    shades = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [120, 120, 120]])
    noise = draw.integers(-40, 40, (64, 3, 64, 64))
    split = Split((shades[labels][:, :, None, None] + noise).clip(0, 255).astype(np.uint8), labels)
    return DataSet("colours", ("red", "green", "blue", "gray"), split, split, split)


def test_a_network_of_a_models_shape_learns_a_class_set(colours: DataSet) -> None:
    half = tuple((block.modules + 1) // 2 for block in LITE0.design(side_px=64).blocks)
    assert trained_alone(colours, (0, 2, 3), prefix_gates(half, 32), 40) > 0.9
    assert 0.0 < seconds_of_step(colours, (0, 2), prefix_gates(half, 32)) < 60.0


def test_the_table_has_means_over_the_class_sets() -> None:
    cell = {"generated": 0.9, "trained": 0.8, "took_s": 1.0, "limit_ms": 2.0, "measured_ms": 1.9}
    rows = [
        {"probe": 0.6, "dense_refit": 0.8, "35%": cell, "15%": cell},
        {"probe": 0.8, "dense_refit": 0.9, "35%": cell, "15%": {**cell, "generated": 0.7}},
        {"probe": 0.9, "dense_refit": 1.0, "35%": {**cell, "trained": 0.7, "measured_ms": 2.1}},
    ]
    machine = {"cpu": "a cpu"}
    told = table({"supernet": "colours", "machine": machine, "dense_ms": 4.0, "epoch_s": 50.0, "rows": rows})
    assert "| all classes | 60.0 | 80.0 | 90.0 | 80.0 | +10.00 | 90.0 | 80.0 | +10.00 |" in told
    assert "| 2 class sets | 85.0 | 95.0 | 90.0 | 75.0 | +15.00 ± 5.00 | 70.0 | 80.0 | -10.00 |" in told
    assert "Generated in 1.00 s (p50), 1.00 s (p95); 4 of 6 made and within their limit." in told
