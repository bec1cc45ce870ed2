"""Stopwatch: how the time and the memory of a model are taken, in the process that this is called in.

Latency: a few runs to warm up, then short blocks of runs, in bursts, until several blocks agree with the one
of the lowest median: what the model needs, not what other programs take from it. The median is that of the
quickest block; any other percentile is taken over all runs of the blocks that agree. On a machine with twice
as much to do as it has cores the median repeats within 1 % nine times of ten, where the quartile or median of
blocks is off by up to a tenth.
Memory: how far the process's resident memory rises, at its peak, above what it was before the model is
loaded. The runtime's own code, which all models share and the first would have to pay for, is read in before.
"""

import ctypes
import math
import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

WARM_UP_RUNS = 5
WARM_UP_S = 0.005
BLOCK_S = 0.002
FEWEST_RUNS, MOST_RUNS = 7, 200
# Bursts with pauses between, so that not all blocks fall into the same busy moment.
BURSTS = 3
BURST_S = 0.008
BURST_BLOCKS = 4
PAUSE_S = 0.005
# Bursts go on until so many blocks are this near to the quickest one, relative, or until patience ends.
AGREEING = 4
AGREEMENT = 0.01
PATIENCE_S = 0.25
# Of nets that take turns.
TURN_S = 0.0015
TURN_RUNS = (3, 9)
# Other nets ran since: slow ones seem up to a third slower until they are back in the caches.
TURN_WARM_UP_RUNS = 2

Message = dict[str, Any]
Image = dict[str, npt.NDArray[np.float32]]
Runs = npt.NDArray[np.float64]
Model = tuple[onnxruntime.InferenceSession, Image]


def measure_model(request: Message) -> Iterator[Message]:
    """Yield ``latency_ms`` and ``memory_mb`` of one model.

    Args:
        request: ``path``, ``shape`` of the image, ``threads``, ``percentile`` 1..99, and ``enough_ms`` if the
            measurement may end early.
    """
    image = picture(request["shape"])
    read_code()
    before = resident_kb("VmRSS")
    session, feed = open_model(request["path"], request["threads"], image)
    for _ in range(WARM_UP_RUNS):
        session.run(None, feed)
    latency = time_model(session, feed, request["percentile"], request.get("enough_ms", 0.0))
    yield {"result": {"latency_ms": latency, "memory_mb": (resident_kb("VmHWM") - before) * 1024 / 1e6}}


def time_model(
    session: onnxruntime.InferenceSession, feed: Image, percentile: float, enough_ms: float = 0.0
) -> float:
    """Return the latency of a model in ms; more bursts are run while too few blocks agree.

    As soon as it is no more than ``enough_ms``, since noise only adds, nothing more is run.
    """
    warm: list[float] = []
    start = time.perf_counter()
    while len(warm) < WARM_UP_RUNS or time.perf_counter() - start < WARM_UP_S:
        warm.append(time_block(session, feed, 1, 50))
    # A percentile near the end needs runs beyond it.
    least = max(FEWEST_RUNS, math.ceil(1.5 / (1 - percentile / 100)))
    runs = min(max(least, round(BLOCK_S * 1e3 / min(warm))), MOST_RUNS)
    burst = min(max(round(BURST_S * 1e3 / (runs * min(warm))), 1), BURST_BLOCKS)
    blocks: list[Runs] = []
    start = time.perf_counter()
    while True:
        blocks += [time_runs(session, feed, runs) for _ in range(burst)]
        middles = [float(np.median(block)) for block in blocks]
        agreeing = [
            b for b, middle in zip(blocks, middles, strict=True) if middle <= min(middles) * (1 + AGREEMENT)
        ]
        tired = time.perf_counter() - start > PATIENCE_S
        found = (
            min(middles) if percentile == 50 else float(np.percentile(np.concatenate(agreeing), percentile))
        )
        enough = len(blocks) >= BURSTS * burst and (len(agreeing) >= AGREEING or tired)
        if enough or found <= enough_ms:
            return found
        time.sleep(PAUSE_S)
        # Awake again: caches and clock frequency come back.
        time_block(session, feed, 2, 50)


def measure_nets(request: Message) -> Iterator[Message]:
    """Yield ``round`` of ``rounds`` as it goes, then the latency of every net in ms, that of its quickest turn.

    All nets take turns, so that whatever slows the machine for a while falls on all of them; a turn is a block.

    Args:
        request: ``paths``, ``shape`` of the image, ``threads``, ``rounds`` at least and at most, ``budget_s``
            for all rounds together.
    """
    image = picture(request["shape"])
    models = [open_model(path, request["threads"], image) for path in request["paths"]]
    least, most = request["rounds"]
    runs = [turn_runs(session, feed) for session, feed in models]
    blocks: list[list[float]] = []
    start = time.perf_counter()
    rounds = most
    while len(blocks) < rounds:
        blocks.append([time_turn(model, count) for model, count in zip(models, runs, strict=True)])
        per_round = (time.perf_counter() - start) / len(blocks)
        rounds = min(max(round(request["budget_s"] / per_round), least), most)
        yield {"round": len(blocks), "rounds": max(rounds, len(blocks))}
    yield {"result": np.min(blocks, axis=0).tolist()}


def turn_runs(session: onnxruntime.InferenceSession, feed: Image) -> int:
    """Return how many runs a turn has: an odd number that takes a short time, within bounds."""
    session.run(None, feed)
    least, most = TURN_RUNS
    return min(max(round(TURN_S * 1e3 / time_block(session, feed, least, 50)), least), most) | 1


def time_turn(model: Model, runs: int) -> float:
    """Return the latency of one block in ms, after runs that bring the model back into the caches."""
    session, feed = model
    for _ in range(max(TURN_WARM_UP_RUNS, runs // 4)):
        session.run(None, feed)
    return time_block(session, feed, runs, 50)


def time_block(session: onnxruntime.InferenceSession, feed: Image, runs: int, percentile: float) -> float:
    """Return a percentile of the latency of some runs, in ms."""
    return float(np.percentile(time_runs(session, feed, runs), percentile))


def time_runs(session: onnxruntime.InferenceSession, feed: Image, runs: int) -> Runs:
    """Return the latency of every one of some runs, in ms."""
    clock, run = time.perf_counter_ns, session.run
    marks = [clock()]
    for _ in range(runs):
        run(None, feed)
        marks.append(clock())
    return np.diff(marks) / 1e6


def open_model(path: str, threads: int, image: npt.NDArray[np.float32]) -> Model:
    """Return a session on the CPU and what to feed it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # One thread has nobody to wait for; several would otherwise sleep and wake within every layer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session, {session.get_inputs()[0].name: image}


def picture(shape: list[int]) -> npt.NDArray[np.float32]:
    """Return one image of random pixels, 0..255."""
    return np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.float32)


def read_code() -> None:
    """Bring all code of loaded libraries into this process, and give free memory back to the system."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, _, _, _, *name = line.split(maxsplit=5)
        if name and ".so" in name[0] and rights.startswith("r"):
            start, end = (int(part, 16) for part in where.split("-"))
            # One byte of every page; nothing is copied, since that would change how memory is handed out later.
            code = np.frombuffer(memoryview((ctypes.c_char * (end - start)).from_address(start)), np.uint8)
            code[:: mmap.PAGESIZE].max()


def resident_kb(figure: str) -> int:
    """Return ``VmRSS`` (now) or ``VmHWM`` (at its peak) of this process, in 1024 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{figure}:"):
            return int(line.split()[1])
    raise OSError(f"{figure} is not known on this system")
