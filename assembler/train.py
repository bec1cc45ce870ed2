"""Make a checkpoint: train supernet and assembler through all phases, then write the Card.

Phases: ``full`` (the dense net alone), ``elastic`` (random sub-networks), ``joint`` (the assembler chooses),
``settle`` (the assembler stands still).
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supernet.data import DataSet
from supernet.evaluate import accuracy_of
from supernet.gates import full_gates, prefix_gates
from supernet.train import Run, Sampler, steps_of, train_steps

STATE_FILE = "run.pt"
LOG_FILE = "log.jsonl"
SHARES = {"full": 0.33, "elastic": 0.27, "joint": 0.30, "settle": 0.10}
SAVE_EVERY_S = 120.0
LOG_EVERY = 200
EVALUATE_EVERY = 2000


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the log."""

    phase: str
    step: int
    total: int
    loss: float
    seconds: float


def phase_ends(total: int) -> dict[str, int]:
    """Return the first step after each phase."""
    ends, share = {}, 0.0
    for name, part in SHARES.items():
        share += part
        ends[name] = min(total, round(share * total))
    return ends


def _evaluate(run: Run, data: DataSet) -> dict[str, float]:
    architecture = run.supernet.architecture
    calibration = data.train.balanced(20, seed=1)
    images = data.val.balanced(100, seed=1)
    quarter = prefix_gates(tuple(max(1, block.modules // 4) for block in architecture.blocks))
    return {
        "dense_accuracy": accuracy_of(run.average, full_gates(architecture), calibration, images),
        "quarter_accuracy": accuracy_of(run.average, quarter, calibration, images),
    }


def _write_log(out: Path, line: dict[str, object]) -> None:
    with (out / LOG_FILE).open("a") as log:
        log.write(json.dumps(line) + "\n")


def train_phase(
    run: Run, data: DataSet, out: Path, phase: str, sampler: Sampler, *, rank: int = 0, world: int = 1
) -> Iterator[Progress]:
    """Train one phase to its end, saving and logging on the way; yields after every step."""
    total = steps_of(run.recipe, len(data.train))
    saved, losses = time.monotonic(), []
    for loss in train_steps(
        run, data.train, phase_ends(total)[phase], total, sampler, rank=rank, world=world
    ):
        yield Progress(phase, run.step, total, loss, run.seconds)
        if rank:
            continue
        losses.append(loss)
        if run.step % LOG_EVERY == 0:
            line: dict[str, object] = {
                "phase": phase,
                "step": run.step,
                "total": total,
                "loss": round(float(np.mean(losses)), 4),
                "seconds": round(run.seconds, 1),
            }
            if run.step % EVALUATE_EVERY == 0:
                line |= _evaluate(run, data)
            _write_log(out, line)
            losses = []
        if time.monotonic() - saved > SAVE_EVERY_S:
            run.save(out / STATE_FILE)
            saved = time.monotonic()
    if rank == 0:
        run.save(out / STATE_FILE)
