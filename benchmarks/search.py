"""How long the search takes, under one limit, under all three, and for a whole front.

    python -m benchmarks.search [--runs N]

Utilities are random, or proportional to cost with a little noise, which is the hardest kind for a knapsack.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from assembler.cost import cost_of
from assembler.nominal import nominal_profile
from assembler.search import Caps, Utilities, cheapest, front, search
from benchmarks.machine import describe_machine
from supernet.design import small_design
from supernet.gates import full_gates

CLASSES = 10
FRONT_POINTS = 32


def main() -> None:
    """Time searches, and print one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=200, help="searches of each kind")
    runs = arguments.parse_args().runs
    found = {kind: measure_kind(kind, runs) for kind in ("random", "like cost")}
    json.dump({"machine": describe_machine(), "runs": runs, **found}, sys.stdout, indent=1)
    print()


def measure_kind(kind: str, runs: int) -> dict[str, Any]:
    """Return the times of all searches with one kind of utilities."""
    architecture = small_design(channels=1, side_px=28)
    profile = nominal_profile(architecture)
    least = cheapest(architecture, profile, CLASSES)
    most = cost_of(architecture, full_gates(architecture).counts, CLASSES, profile)
    draw = np.random.default_rng(0)

    def utilities() -> Utilities:
        if kind == "random":
            return [draw.random(block.modules) for block in architecture.blocks]
        return [np.diff(row) * (1 + 0.05 * draw.random(len(row) - 1)) for row in profile.latency.table]

    def cap(name: str, share: float) -> float:
        low, high = getattr(least, name), getattr(most, name)
        return float(low + (high - low) * np.clip(share + 0.05 * draw.standard_normal(), 0.0, 1.0))

    def one(names: tuple[str, ...]) -> Callable[[], object]:
        share = draw.random()
        caps, values = Caps(**{name: cap(name, share) for name in names}), utilities()
        return lambda: search(values, architecture, profile, caps, CLASSES)

    def whole_front() -> Callable[[], object]:
        values = utilities()
        limits = np.linspace(least.latency_ms, most.latency_ms, FRONT_POINTS).tolist()
        return lambda: front(values, architecture, profile, limits, CLASSES)

    return {
        "latency_only_ms": _times([one(("latency_ms",)) for _ in range(runs)]),
        "all_limits_ms": _times([one(("latency_ms", "memory_mb", "size_mb")) for _ in range(runs)]),
        f"front_of_{FRONT_POINTS}_ms": _times([whole_front() for _ in range(max(1, runs // 20))]),
    }


def _times(calls: list[Callable[[], object]]) -> dict[str, float]:
    times = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "max": round(max(times), 2)}


if __name__ == "__main__":
    main()
