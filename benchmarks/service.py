"""How fast the service is: its start, checks, and from scenario to artifact.

Starts the real server with a fresh data folder and prints JSON:
``python -m benchmarks.service [--checks 200] [--models 50]``.
"""

import argparse
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from benchmarks.machine import describe_machine

READY_S = 180.0
WARMUP = 3
# Each limit as a share of the dense net's figure: the least is out of reach of many scenarios.
REACH = {
    "latency_ms": (0.15, 1.0),
    "size_mb": (0.15, 1.0),
    "memory_mb": (0.3, 1.2),
    "accuracy_min": (0.85, 1.06),
}


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=200)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--supernet", default="fashion")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder)) as (_, first):
            pass
        with serving(Path(folder)) as (client, second):
            drawn = scenarios(supernet_of(client, options.supernet), options.seed)
            checks = [check(client, next(drawn)) for _ in range(options.checks)]
            wanted = feasible(client, drawn)
            for _ in range(WARMUP):
                generate(client, next(wanted))
            asked = [next(wanted) for _ in range(options.models)]
            models = [generate(client, one) for one in asked]
    report = {
        "machine": describe_machine(),
        "start": {"first": first, "second": second},
        "check": {"count": len(checks), **quantiles([one["ms"] for one in checks], "ms")},
        "check_feasible": sum(one["feasible"] for one in checks),
        "generate_asked": Counter(name for one in asked for name in asked_for(one)),
        "generate": {"count": len(models), **quantiles([one["s"] for one in models], "s")},
        "generate_ended": Counter(one["ended"] for one in models),
        "limits_met": sum(one["limits_met"] for one in models),
        "pick_up": quantiles([one["pick_up_ms"] for one in models], "ms"),
        "answer_after_end": quantiles([one["answer_ms"] for one in models], "ms"),
        "phases": phases(models),
    }
    print(json.dumps(report, indent=1))


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[httpx.Client, dict[str, float]]]:
    """Run the server; yield a client and how long it took from the start of the process to each answer."""
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--data-dir", str(data_dir)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        address = re.search(r"http://\S+", said)
        if address is None:
            raise SystemExit(f"the server did not start: {said}{process.stderr.read()}")
        with httpx.Client(base_url=address.group(), timeout=60) as client:
            took = {f"{path[1:]}_s": wait_for(client, path, began) for path in ("/healthz", "/readyz")}
            yield client, took
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stderr.close()


def wait_for(client: httpx.Client, path: str, began: float) -> float:
    """Return the seconds from the start of the process until an address answers 200."""
    while time.perf_counter() - began < READY_S:
        try:
            if client.get(path).status_code == 200:
                return round(time.perf_counter() - began, 3)
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"{path} did not become 200 within {READY_S} s")


def supernet_of(client: httpx.Client, name: str) -> dict[str, Any]:
    """Return what the service says of a supernet."""
    (found,) = [one for one in client.get("/supernets").json()["supernets"] if one["name"] == name]
    return dict(found)


def scenarios(supernet: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Yield different scenarios: random classes, one to three limits from out of reach to the dense net's figures.

    One in four has an output for none of the classes.
    """
    draw = random.Random(seed)
    dense, vocabulary = supernet["dense"], supernet["classes"]
    for number in count():
        classes = draw.sample(vocabulary, draw.randint(2, len(vocabulary)))
        other = number % 4 == 3 and len(classes) < len(vocabulary)
        limits = {}
        for name in draw.sample(sorted(REACH), draw.randint(1, 3)):
            least, most = REACH[name]
            limits[name] = dense[name.removesuffix("_min")] * draw.uniform(least, most)
        if "accuracy_min" in limits:
            limits["accuracy_min"] = min(limits["accuracy_min"], 0.999)
        task = {"kind": supernet["kind"], "classes": classes, "other": other}
        yield {"task": task, "limits": limits, "supernet": supernet["name"], "name": f"scenario {number}"}


def feasible(client: httpx.Client, drawn: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield those scenarios that can be met, by the service's own check."""
    return (wanted for wanted in drawn if check(client, wanted)["feasible"])


def asked_for(wanted: dict[str, Any]) -> list[str]:
    """Return the limits of a scenario, and ``other`` where it has that output."""
    return [*wanted["limits"], *(["other"] if wanted["task"]["other"] else [])]


def check(client: httpx.Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """Check a scenario; return how long the answer took."""
    began = time.perf_counter()
    response = client.post("/models/check", json=wanted)
    took = time.perf_counter() - began
    response.raise_for_status()
    return {"ms": took * 1000, "feasible": response.json()["feasible"]}


def generate(client: httpx.Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """Post a scenario, wait for its end, and download the file; the time is that of all three."""
    began = time.perf_counter()
    response = client.post("/models", json=wanted, headers={"prefer": "wait=30"})
    answered_at = time.time()
    response.raise_for_status()
    job = response.json()
    if job["result"]:
        client.get(f"/artifacts/{job['result']['artifacts'][0]['id']}").raise_for_status()
    took = time.perf_counter() - began
    return {
        "s": took,
        "ended": job["error"]["code"] if job["error"] else job["state"],
        "limits_met": bool(job["result"] and job["result"]["limits_met"]),
        "pick_up_ms": 1000 * (seconds(job["started_at"]) - seconds(job["created_at"])),
        "answer_ms": 1000 * (answered_at - seconds(job["finished_at"])),
        "phases": job["phases"],
    }


def phases(models: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return how long each phase of a model took altogether, over the models that had it."""
    sums: dict[str, list[float]] = {}
    for model in models:
        totals: Counter[str] = Counter()
        for phase in model["phases"]:
            totals[phase["name"]] += phase["duration_ms"]
        for name, total in totals.items():
            sums.setdefault(name, []).append(total)
    return {name: quantiles(values, "ms") for name, values in sums.items()}


def quantiles(values: Sequence[float], unit: str) -> dict[str, float]:
    """Return median, 95th percentile and maximum."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    figures = {"p50": statistics.median(ordered), "p95": p95, "max": ordered[-1]}
    return {f"{name}_{unit}": round(value, 3) for name, value in figures.items()}


def seconds(text: str) -> float:
    """Return a time of the contract as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()
