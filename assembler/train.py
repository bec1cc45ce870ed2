"""Make a checkpoint: train supernet and assembler through all phases, then fit the accuracy predictor.

Phases: ``full`` (the dense net alone), ``elastic`` (random sub-networks), ``joint`` (the assembler chooses and
learns), ``settle`` (the assembler stands still), ``foretell`` (the accuracy predictor). Every phase continues
where it stopped. Several processes share each batch.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import distributed, multiprocessing

from assembler.affinity import affinity_from, class_saliency
from assembler.foretell import Foretold, foretell
from assembler.joint import joint_sampler
from assembler.model import Assembler
from assembler.nominal import nominal_profile
from supernet.card import Architecture
from supernet.data import DataSet
from supernet.elastic import elastic_sampler
from supernet.evaluate import accuracy_of
from supernet.gates import full_gates, prefix_gates
from supernet.model import Supernet
from supernet.train import Recipe, Run, Sampler, share_gradients, steps_of, train_steps

STATE_FILE = "run.pt"
LOG_FILE = "log.jsonl"
MEETING_FILE = "processes"
SHARES = {"full": 0.33, "elastic": 0.27, "joint": 0.30, "settle": 0.10}
ASSEMBLER_RATE = 3e-3
SAVE_EVERY_S = 120.0
LOG_EVERY = 200
EVALUATE_EVERY = 2000


@dataclass(frozen=True, slots=True)
class Job:
    """A whole training run: what is trained, on what, how, and where its state is kept.

    ``networks`` is how many sub-networks the class saliency is averaged over, ``pairs`` how many
    (task, gates, accuracy) the predictor is fitted on.
    """

    architecture: Architecture
    data: DataSet
    work: Path
    recipe: Recipe = field(default_factory=Recipe)
    processes: int = 1
    device: str = "cpu"
    networks: int = 150
    pairs: int = 600


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; ``loss`` is that of the full net."""

    phase: str
    step: int
    total: int
    loss: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run holds: the averaged supernet, the assembler, the predictor with its error."""

    supernet: Supernet
    assembler: Assembler
    foretold: Foretold
    seconds: float


def phase_ends(total: int) -> dict[str, int]:
    """Return the first step after each phase."""
    ends, share = {}, 0.0
    for name, part in SHARES.items():
        share += part
        ends[name] = min(total, round(share * total))
    return ends


def train(job: Job) -> Iterator[Progress | Trained]:
    """Train to the end, yielding Progress after every step and Trained at last; continue a run that is there.

    Raises:
        RuntimeError: a process of the run ended early; what was saved stays.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    meeting = job.work / MEETING_FILE
    meeting.unlink(missing_ok=True)
    spawn = multiprocessing.get_context("spawn")
    helpers = [
        spawn.Process(target=_help, args=(job, rank), daemon=True, name=f"train {rank}")
        for rank in range(1, job.processes)
    ]
    for helper in helpers:
        helper.start()
    try:
        yield from _take_part(job, 0)
    finally:
        for helper in helpers:
            helper.join(timeout=5)
            if helper.is_alive():
                helper.kill()
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _help(job: Job, rank: int) -> None:
    for _ in _take_part(job, rank):
        pass
    distributed.destroy_process_group()


def _take_part(job: Job, rank: int) -> Iterator[Progress | Trained]:
    if job.processes > 1:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{(job.work / MEETING_FILE).resolve()}",
            rank=rank,
            world_size=job.processes,
        )
    torch.manual_seed(job.recipe.seed)
    classes = len(job.data.classes)
    supernet = Supernet(job.architecture, classes).to(memory_format=torch.channels_last)
    supernet.to(torch.device(job.device))
    assembler = Assembler(job.architecture, classes)
    learner = torch.optim.Adam(assembler.parameters(), lr=ASSEMBLER_RATE)
    run = Run(supernet, job.recipe)
    run.companions = {"assembler": assembler, "learner": learner}
    if (job.work / STATE_FILE).exists():
        run.load(job.work / STATE_FILE)
    profile = nominal_profile(job.architecture)
    ends = phase_ends(steps_of(job.recipe, len(job.data.train)))

    def choosing(learning: bool) -> Sampler:
        return joint_sampler(assembler, job.architecture, profile, classes, learning=learning)

    yield from _phase(job, run, "full", lambda draw, progress: [], rank)
    yield from _phase(job, run, "elastic", elastic_sampler(job.architecture, classes), rank)
    if run.step == ends["elastic"]:
        _start_affinity(run, job, assembler, rank)
    for progress in _phase(job, run, "joint", choosing(learning=True), rank):
        share_gradients(list(assembler.parameters()), job.processes)
        learner.step()
        learner.zero_grad(set_to_none=True)
        yield progress
    yield from _phase(job, run, "settle", choosing(learning=False), rank)
    foretold = foretell(
        run.average,
        assembler,
        profile,
        job.data,
        pairs=job.pairs,
        seed=job.recipe.seed,
        rank=rank,
        world=job.processes,
    )
    yield Trained(run.average, assembler, foretold, run.seconds)


def _start_affinity(run: Run, job: Job, assembler: Assembler, rank: int) -> None:
    """Start the assembler from class saliency."""
    images = job.data.train.balanced(64, seed=job.recipe.seed + 1)
    saliency = class_saliency(
        run.average, images, networks=job.networks, seed=job.recipe.seed, rank=rank, world=job.processes
    )
    worth, affinity = affinity_from(saliency)
    with torch.no_grad():
        assembler.worth.copy_(worth)
        assembler.affinity.copy_(affinity)


def _phase(job: Job, run: Run, phase: str, sampler: Sampler, rank: int) -> Iterator[Progress]:
    """Train one phase to its end, saving and logging on the way."""
    total = steps_of(run.recipe, len(job.data.train))
    saved, losses = time.monotonic(), []
    steps = train_steps(
        run, job.data.train, phase_ends(total)[phase], total, sampler, rank=rank, world=job.processes
    )
    for loss in steps:
        yield Progress(phase, run.step, total, loss)
        if rank:
            continue
        losses.append(loss)
        if run.step % LOG_EVERY == 0:
            _log(job, run, phase, total, float(np.mean(losses)))
            losses = []
        if time.monotonic() - saved > SAVE_EVERY_S:
            run.save(job.work / STATE_FILE)
            saved = time.monotonic()
    if rank == 0:
        run.save(job.work / STATE_FILE)


def _log(job: Job, run: Run, phase: str, total: int, loss: float) -> None:
    line: dict[str, object] = {
        "phase": phase,
        "step": run.step,
        "total": total,
        "loss": round(loss, 4),
        "seconds": round(run.seconds, 1),
    }
    if run.step % EVALUATE_EVERY == 0:
        calibration = job.data.train.balanced(20, seed=1)
        images = job.data.val.balanced(100, seed=1)
        quarter = prefix_gates(tuple(max(1, block.modules // 4) for block in job.architecture.blocks))
        line["dense_accuracy"] = accuracy_of(run.average, full_gates(job.architecture), calibration, images)
        line["quarter_accuracy"] = accuracy_of(run.average, quarter, calibration, images)
    with (job.work / LOG_FILE).open("a") as log:
        log.write(json.dumps(line) + "\n")
