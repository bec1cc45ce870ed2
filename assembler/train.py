"""Make a checkpoint: train supernet and assembler through all phases, then fit the accuracy predictor.

Phases: ``full`` (the dense net alone), ``elastic`` (random sub-networks, from which ladder and class saliency are
taken), ``joint`` (the assembler chooses and learns), ``settle`` (the assembler stands still), ``foretell`` (the
accuracy predictor). Every phase continues where it stopped. Several processes share each batch.
"""

import hashlib
import json
import signal
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import distributed, multiprocessing
from torch.nn import functional as F

from assembler.affinity import affinity_from, class_saliency
from assembler.device import Profile
from assembler.effort import Done, Effort
from assembler.foretell import BudgetLadder, Foretold, foretell
from assembler.images import first, joined
from assembler.joint import GENERAL_SHARE, NOISE, joint_sampler
from assembler.ladder import find_ladder, prune_ladder, shared_losses, worth_of
from assembler.model import Assembler
from assembler.neighbours import neighbours
from assembler.nominal import nominal_profile
from assembler.pieces import PUBLISHED, STANDING, TRAINING
from assembler.probe import start_head
from supernet.allocator import keep_freed_memory
from supernet.backbones import BACKBONES, grow, settle
from supernet.card import Architecture
from supernet.data import DataSet, Split
from supernet.elastic import elastic_sampler
from supernet.errors import RunUnusable
from supernet.evaluate import accuracy_of, as_batch, logits_of
from supernet.gates import full_gates, prefix_gates
from supernet.layers import Statistics
from supernet.model import Supernet
from supernet.train import Recipe, Run, Sampler, share_gradients, steps_of, train_steps
from supernet.writing import writing

STATE_FILE = "run.pt"
LOG_FILE = "log.jsonl"
MEETING_FILE = "processes"
SHARES = {"full": 0.22, "elastic": 0.10, "joint": 0.53, "settle": 0.15}
# Where the full net stands once it has been trained alone, that takes longer.
STANDING_SHARES = {"full": 0.4, "elastic": 0.08, "joint": 0.4, "settle": 0.12}
ASSEMBLER_RATE = 1e-3
# To fit BatchNorms of published weights to.
SETTLING_IMAGES = 256
# How far a fine-tuned net may go back to where it started, and how many images decide.
WAYS_BACK, MOST_COMPARED_ON = (0.0, 0.25, 0.5, 0.75), 1000
# What blocks see of so many photographs is kept in memory while their ladder is found.
MOST_PRUNED_ON = 256
# Of every class, to find the classes that the full net confuses.
NEIGHBOUR_IMAGES = 40
SAVE_EVERY_S = 120.0
LOG_EVERY = 200
EVALUATE_EVERY = 2000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """A whole training run: what is trained, on what, how, and where its state is kept.

    ``effort`` is how much work is done beside the phases; ``per_class`` how many images of a class the checkpoint has
    to calibrate and fit heads on, and to validate on. ``without`` names pieces of the method to leave out, see
    ``assembler.pieces``; ``backbone`` a published network whose weights the supernet starts with, see
    ``supernet.backbones``.
    """

    architecture: Architecture
    data: DataSet
    work: Path
    recipe: Recipe = field(default_factory=Recipe)
    processes: int = 1
    device: str = "cpu"
    effort: Effort = field(default_factory=Effort)
    per_class: tuple[int, int] = (100, 150)
    without: frozenset[str] = frozenset()
    backbone: str | None = None

    def __post_init__(self) -> None:
        """Refuse to leave out what is no piece of training, or not one of this run."""
        if unknown := self.without - TRAINING.keys():
            raise ValueError(f"{min(unknown)} is no piece of training; these are: {', '.join(TRAINING)}")
        absent = (frozenset() if self.backbone else PUBLISHED) | (
            frozenset() if self.recipe.stands else STANDING
        )
        if missing := self.without & absent:
            raise ValueError(f"{min(missing)} is a piece of training from published weights alone")

    @property
    def shares(self) -> dict[str, float]:
        """What share of the steps each phase has."""
        return phase_shares(stands=self.recipe.stands, without=self.without)

    @property
    def fingerprint(self) -> str:
        """What must stay the same for a run to be continued: images, architecture, recipe; not its length."""
        recipe = asdict(self.recipe) | {"epochs": None}
        facts = [
            self.architecture.model_dump(mode="json", exclude_defaults=True),
            recipe,
            self.data.classes,
            self.data.groups,
            sorted(self.without),
            self.backbone,
        ]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for split in (self.data.train, self.data.val):
            digest.update(split.images.tobytes())
            digest.update(split.labels.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in steps of all phases together or in the work of one of them; ``loss`` is the full net's."""

    phase: str
    step: int
    total: int
    loss: float | None


@dataclass(frozen=True, slots=True)
class Trained:
    """What a finished run holds: the averaged supernet, the assembler, the predictor with its error."""

    supernet: Supernet
    assembler: Assembler
    foretold: Foretold
    seconds: float


def phase_shares(*, stands: bool = False, without: frozenset[str] = frozenset()) -> dict[str, float]:
    """Return the share of the steps that each phase has.

    Args:
        stands: see ``Recipe``.
        without: phases that are left out; the others take longer.
    """
    usual = STANDING_SHARES if stands else SHARES
    shares = {name: 0.0 if name in without else share for name, share in usual.items()}
    whole = sum(shares.values())
    return {name: share / whole for name, share in shares.items()}


def phase_ends(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return the first step after each phase.

    Args:
        total: steps of the whole run.
        shares: of every phase.
    """
    ends, share = {}, 0.0
    for name, part in shares.items():
        share += part
        ends[name] = min(total, round(share * total))
    return ends


def train(setup: Setup) -> Generator[Progress | Trained, None, None]:
    """Train to the end, yielding Progress after every step and Trained at last; continue a run that is there.

    Raises:
        RunUnusable: what is there is damaged or another run's, or a process ended early; what was saved stays.
        Unwritten: the state cannot be saved, since the disk is full for instance; what was saved before stays.
    """
    meeting = setup.work / MEETING_FILE
    with writing(setup.work):
        setup.work.mkdir(parents=True, exist_ok=True)
        meeting.unlink(missing_ok=True)
    spawn = multiprocessing.get_context("spawn")
    helpers = [
        spawn.Process(target=_help, args=(setup, rank), daemon=True, name=f"train {rank}")
        for rank in range(1, setup.processes)
    ]
    for helper in helpers:
        helper.start()
    try:
        yield from _take_part(setup, 0)
    except RuntimeError as error:
        if all(helper.is_alive() for helper in helpers):
            raise
        raise RunUnusable(setup.work, "one of its processes ended early; start it again to go on") from error
    finally:
        for helper in helpers:
            helper.join(timeout=1)
            if helper.is_alive():
                helper.kill()
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _help(setup: Setup, rank: int) -> None:
    # Ctrl-C reaches every process of a terminal; the first one says when it is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for _ in _take_part(setup, rank):
        pass
    distributed.destroy_process_group()


def _take_part(setup: Setup, rank: int) -> Iterator[Progress | Trained]:
    keep_freed_memory()
    if setup.processes > 1:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{(setup.work / MEETING_FILE).resolve()}",
            rank=rank,
            world_size=setup.processes,
        )
    torch.manual_seed(setup.recipe.seed)
    classes = len(setup.data.classes)
    supernet = Supernet(setup.architecture, classes)
    published = None if setup.backbone is None else grow(supernet, BACKBONES[setup.backbone])
    supernet.to(torch.device(setup.device)).to(memory_format=torch.channels_last)
    assembler = Assembler(setup.architecture, classes)
    if "middle" in setup.without:
        assembler.mask.fill_(1.0)
    learner = torch.optim.Adam(assembler.parameters(), lr=ASSEMBLER_RATE)
    without = setup.without
    average = 0.0 if "average" in without else setup.recipe.average
    run = Run(supernet, replace(setup.recipe, average=average, teach="teacher" not in without))
    run.companions |= {"assembler": assembler, "learner": learner}
    fingerprint = setup.fingerprint
    if (setup.work / STATE_FILE).exists():
        run.load(setup.work / STATE_FILE, fingerprint)
    elif published is not None:
        _start_published(supernet, published, setup, rank)
        run.start_from(supernet)
    profile = nominal_profile(setup.architecture)
    ends = phase_ends(steps_of(setup.recipe, len(setup.data.train)), setup.shares)

    def choosing(learning: bool) -> Sampler:
        if "ladder" in without:
            return elastic_sampler(setup.architecture, classes, closeness)
        return joint_sampler(
            assembler,
            setup.architecture,
            profile,
            classes,
            closeness,
            learning=learning and "learning" not in without,
            exploration=(0.0, 0.0) if "noise" in without else NOISE,
            general_share=1.0 if "tasks" in without else GENERAL_SHARE,
        )

    yield from _phase(setup, run, "full", lambda draw, progress: [], rank, fingerprint)
    if run.step == ends["full"]:
        _go_back(run, setup, rank)
        if "full" not in without:
            _find_neighbours(run, setup, assembler)
    # Weights that were not trained know of no neighbours.
    known = None if without & {"clusters", "full"} else assembler.closeness.numpy()
    random = elastic_sampler(setup.architecture, classes, known)
    yield from _phase(setup, run, "elastic", random, rank, fingerprint)
    if run.step == ends["elastic"]:
        if "full" in without:
            _find_neighbours(run, setup, assembler)
        yield from _start_assembler(run, setup, assembler, profile, rank)
    closeness = None if "clusters" in without else assembler.closeness.numpy()
    with closing(_phase(setup, run, "joint", choosing(learning=True), rank, fingerprint)) as steps:
        for progress in steps:
            share_gradients(list(assembler.parameters()), setup.processes)
            learner.step()
            learner.zero_grad(set_to_none=True)
            yield progress
    yield from _phase(setup, run, "settle", choosing(learning=False), rank, fingerprint)
    foretelling = foretell(
        run.average,
        BudgetLadder(assembler.by_budget, tuple(assembler.raises.tolist())),
        profile,
        setup.data,
        pairs=setup.effort.pairs,
        per_class=setup.per_class,
        seed=setup.recipe.seed,
        rank=rank,
        world=setup.processes,
    )
    foretold = yield from watched("predictor", foretelling)
    yield Trained(run.average, assembler, foretold, run.seconds)


def _start_published(supernet: Supernet, published: Statistics, setup: Setup, rank: int) -> None:
    """Fit published weights to the images: their BatchNorms, and a head for their features."""
    train, classes = setup.data.train, len(setup.data.classes)
    if "settling" not in setup.without:
        some = _some(train, SETTLING_IMAGES, classes, setup.recipe.seed)
        settle(supernet, published, as_batch(some.images, supernet.mean.device))
    if "probe" not in setup.without:
        start_head(supernet, train, rank=rank, world=setup.processes)


def _some(split: Split, count: int, classes: int, seed: int) -> Split:
    """Return up to so many images, of every class as many."""
    return first(split.balanced(max(1, count // classes), seed), count)


def _go_back(run: Run, setup: Setup, rank: int) -> None:
    """Go back from what the full net learned towards its published weights, as far as validation images like it."""
    if run.teacher is None:
        return
    classes, seed, dense = len(setup.data.classes), setup.recipe.seed, full_gates(setup.architecture)
    calibration = _some(setup.data.train, SETTLING_IMAGES, classes, seed)
    images = _some(setup.data.val, MOST_COMPARED_ON, classes, seed)

    def loss_at(way: float) -> float:
        logits = torch.from_numpy(logits_of(run.part_way(way), dense, calibration, images))
        return float(F.cross_entropy(logits, torch.from_numpy(images.labels)))

    ways = (0.0,) if "way-back" in setup.without else WAYS_BACK
    losses = shared_losses([partial(loss_at, way) for way in ways], rank, setup.processes)
    run.start_from(run.part_way(ways[int(np.argmin(losses))]))


def _find_neighbours(run: Run, setup: Setup, assembler: Assembler) -> None:
    calibration, images = (
        split.balanced(NEIGHBOUR_IMAGES, seed=setup.recipe.seed + 1)
        for split in (setup.data.train, setup.data.val)
    )
    found = neighbours(run.average, setup.data.groups, calibration, images)
    assembler.closeness.copy_(torch.from_numpy(found))


def watched(phase: str, work: Generator[Done, None, T]) -> Generator[Progress, None, T]:
    """Return what some work returns, yielding how far it is."""
    while True:
        try:
            done, total = next(work)
        except StopIteration as end:
            found: T = end.value
            return found
        yield Progress(phase, done, total, None)


def _start_assembler(
    run: Run, setup: Setup, assembler: Assembler, profile: Profile, rank: int
) -> Generator[Progress, None, None]:
    """Start the assembler from the ladder and from class saliency."""
    world, seed, classes = setup.processes, setup.recipe.seed, len(setup.data.classes)
    effort = setup.effort
    to_calibrate, to_try = effort.ladder_images
    if setup.backbone is None:
        calibration, images = (
            split.balanced(max(1, count // classes), seed=seed + 1)
            for split, count in ((setup.data.train, to_calibrate), (setup.data.val, to_try))
        )
        searching = find_ladder(
            run.average, profile, calibration, images, rungs=effort.rungs, rank=rank, world=world
        )
    else:
        # The images that the loss is taken on are those to normalise with. Where few are kept to validate, more that
        # were trained on say better what a module is worth.
        count = min(MOST_PRUNED_ON, to_calibrate + to_try)
        unseen = _some(setup.data.val, count, classes, seed + 1)
        more = first(_some(setup.data.train, count, classes, seed + 1), count - len(unseen))
        images = joined(unseen, more)
        searching = prune_ladder(run.average, profile, images, rungs=effort.rungs, rank=rank, world=world)
    ladder = yield from watched("ladder", searching)
    differing = class_saliency(
        run.average,
        setup.data.train.balanced(2 * effort.saliency_images, seed=seed + 1),
        networks=0 if "saliency" in setup.without else effort.networks,
        per_class=effort.saliency_images,
        seed=seed,
        rank=rank,
        world=world,
    )
    saliency = yield from watched("saliency", differing)
    with torch.no_grad():
        assembler.worth.copy_(worth_of(ladder.blocks, setup.architecture))
        assembler.raises.copy_(torch.tensor(ladder.raises, dtype=torch.int64))
        assembler.saliency.copy_(affinity_from(saliency))


def _phase(
    setup: Setup, run: Run, phase: str, sampler: Sampler, rank: int, fingerprint: str
) -> Generator[Progress, None, None]:
    """Train one phase to its end, saving and logging on the way; also saves when it is closed."""
    total = steps_of(run.recipe, len(setup.data.train))
    saved, losses = time.monotonic(), []
    ends = phase_ends(total, setup.shares)
    leg = None
    if run.teacher is not None:
        leg = (0, ends["full"]) if phase == "full" else (ends["full"], total)
    steps = train_steps(
        run, setup.data.train, ends[phase], total, sampler, leg=leg, rank=rank, world=setup.processes
    )
    try:
        for loss in steps:
            yield Progress(phase, run.step, total, loss)
            if rank:
                continue
            losses.append(loss)
            if run.step % min(LOG_EVERY, max(1, total // 20)) == 0:
                _log(setup, run, phase, total, float(np.mean(losses)))
                losses = []
            if time.monotonic() - saved > SAVE_EVERY_S:
                run.save(setup.work / STATE_FILE, fingerprint)
                saved = time.monotonic()
    except GeneratorExit:  # stopped between two steps
        if rank == 0:
            run.save(setup.work / STATE_FILE, fingerprint)
        raise
    if rank == 0:
        run.save(setup.work / STATE_FILE, fingerprint)


def _log(setup: Setup, run: Run, phase: str, total: int, loss: float) -> None:
    line: dict[str, object] = {
        "phase": phase,
        "step": run.step,
        "total": total,
        "loss": round(loss, 4),
        "seconds": round(run.seconds, 1),
    }
    if run.step % EVALUATE_EVERY == 0:
        calibration = setup.data.train.balanced(20, seed=1)
        images = setup.data.val.balanced(100, seed=1)
        quarter = prefix_gates(tuple(max(1, block.modules // 4) for block in setup.architecture.blocks))
        line["dense_accuracy"] = accuracy_of(run.average, full_gates(setup.architecture), calibration, images)
        line["quarter_accuracy"] = accuracy_of(run.average, quarter, calibration, images)
    path = setup.work / LOG_FILE
    with writing(path), path.open("a") as log:
        log.write(json.dumps(line) + "\n")
