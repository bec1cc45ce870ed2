"""Effort: how much work a training run is, and how much of it the time allowed makes room for on this machine.

Legend: L blocks, K classes.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from assembler.images import CALIBRATION_IMAGES
from supernet.allocator import keep_freed_memory
from supernet.card import Architecture
from supernet.data import DataSet, Split
from supernet.elastic import random_budget, random_gates
from supernet.errors import RunUnusable
from supernet.evaluate import as_batch
from supernet.gates import full_gates
from supernet.model import Supernet, calibrate
from supernet.train import Recipe, Run, Sample, train_steps
from supernet.writing import write_whole

EFFORT_FILE = "effort.json"
# Shares of the time allowed; the rest, less what is always needed, is for the phases.
LADDER, SALIENCY, PREDICTOR, RESERVE = 0.08, 0.05, 0.15, 0.08
ALWAYS_S = 15.0
# Of the dense net's cost: a try of the ladder, one where what comes before a block is known, a sub-network of the
# saliency, a model of the predictor.
TRY_COST, PRUNED_COST, SALIENCY_COST, MODEL_COST = 0.5, 0.3, 0.3, 0.3
# A forward and a backward pass cost so many forward passes.
PASSES = 3.0
# Processes side by side slow one another down.
CROWDED = 1.15
SUBNETS = 3
# A model of the predictor sees a share of the images kept to fit and to score on, beside those to normalise with, and
# some time passes to write it down and to fit its head.
TASK_SHARE, MOST_OF_A_TASK, MODEL_S = 0.5, 550, 0.15
# A net part of the way back to published weights is looked at on some images, and so many of them are compared.
WAYS, MOST_OF_A_WAY, VALIDATION_SHARE = 4, 1000, 0.2
STEPS_AN_EPOCH = 10
SMALLEST_BATCH, BATCH_MULTIPLE = 32, 16
TIMED, LOOKED_AT = 3, 64


class Done(NamedTuple):
    """How far some work is."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work is done between the phases and after them.

    ``networks`` sub-networks show, on ``saliency_images`` of every class, what modules matter to which classes; a
    ladder of about ``rungs`` is tried on ``ladder_images`` of all classes together, some to normalise with and some
    to take the loss on; ``pairs`` models are cut out to fit the accuracy predictor.
    """

    networks: int = 150
    saliency_images: int = 32
    rungs: int = 64
    ladder_images: tuple[int, int] = (320, 1000)
    pairs: int = 1500


MOST = Effort()
LEAST = Effort(networks=10, saliency_images=6, rungs=10, ladder_images=(32, 64), pairs=60)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that a process takes: a step of the dense net alone, a step with sub-networks, a look at an image."""

    full_step_s: float
    sandwich_step_s: float
    look_s: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen for a run: how long it is, what it works on, and the time it was chosen for."""

    minutes: float
    side_px: int
    batch: int
    epochs: float
    effort: Effort


def choose(
    minutes: float,
    *,
    architecture: Architecture,
    data: DataSet,
    recipe: Recipe,
    per_class: tuple[int, int],
    alone: float,
    processes: int = 1,
    device: str = "cpu",
    published: bool = False,
    spent_s: float = 0.0,
) -> Chosen:
    """Return how long a run is to be and what it works on, so that it ends within the time allowed on this machine.

    Args:
        minutes: allowed in all.
        architecture: of the supernet.
        data: to train on.
        recipe: of the run; its batch is the largest that is chosen.
        per_class: images of a class that the checkpoint keeps or names, to fit and to score on.
        alone: share of the steps in which the dense net trains alone.
        processes: how many share the work.
        device: torch's, that the run computes on.
        published: whether it starts with published weights: a head is fitted first, its weights may go back, its
            ladder is pruned.
        spent_s: seconds of the time allowed that are over.
    """
    # As the run itself does, or its pace would be another.
    keep_freed_memory()
    began = time.monotonic()
    images, classes = len(data.train), len(data.classes)
    batch = batch_for(images, recipe.batch)
    supernet = Supernet(architecture, classes).to(torch.device(device)).to(memory_format=torch.channels_last)
    run = Run(supernet, replace(recipe, batch=max(1, batch // processes)))
    pace = pace_of(run, data.train)
    epochs, effort = within(
        60 * minutes - spent_s - (time.monotonic() - began),
        pace,
        images=images,
        stored=classes * sum(per_class),
        classes=classes,
        blocks=len(architecture.blocks),
        batch=batch,
        alone=alone,
        processes=processes,
        published=published,
    )
    return Chosen(minutes, architecture.input.height, batch, round(epochs, 2), effort)


def batch_for(images: int, most: int) -> int:
    """Return the images of a step: about a tenth of all, a multiple of 16 from 32 to ``most``."""
    tenth = round(images / STEPS_AN_EPOCH / BATCH_MULTIPLE) * BATCH_MULTIPLE
    return min(most, max(SMALLEST_BATCH, tenth))


def pace_of(run: Run, train: Split) -> Pace:
    """Return how quickly this machine trains a supernet, which is changed by it.

    A moment in which the machine is busy with something else does not count: of what is timed the median is taken.

    Args:
        run: whose batch is that of one process.
        train: images to train on.
    """
    architecture = run.supernet.architecture
    everything = tuple(range(run.supernet.head.out_features))

    def sandwich(draw: np.random.Generator, progress: float) -> list[Sample]:
        return [
            Sample(random_gates(draw, architecture, random_budget(draw)), everything) for _ in range(SUBNETS)
        ]

    def steps(sampler: Callable[[np.random.Generator, float], list[Sample]]) -> Iterator[object]:
        return train_steps(run, train, run.step + TIMED + 1, 10_000, sampler)

    full, mixed = seconds_of(steps(lambda draw, progress: [])), seconds_of(steps(sandwich))
    batch = as_batch(train.images[:LOOKED_AT], run.supernet.mean.device)
    looks = (calibrate(run.supernet, full_gates(architecture), batch) for _ in range(TIMED + 1))
    return Pace(full, mixed, seconds_of(looks) / len(batch))


def seconds_of(work: Iterator[object]) -> float:
    """Return the median of the seconds that pieces of work take, of which the first warms up."""
    next(work)
    took = []
    for _ in range(TIMED):
        began = time.monotonic()
        next(work)
        took.append(time.monotonic() - began)
    return median(took)


def within(
    seconds: float,
    pace: Pace,
    *,
    images: int,
    stored: int,
    classes: int,
    blocks: int,
    batch: int,
    alone: float,
    processes: int = 1,
    published: bool = False,
) -> tuple[float, Effort]:
    """Return the epochs and the Effort that the time allowed makes room for.

    Args:
        seconds: allowed in all.
        pace: of one process.
        images: to train on.
        stored: images that the checkpoint keeps or names.
        classes: K.
        blocks: L.
        batch: images of a step, over all processes.
        alone: share of the steps in which the dense net trains alone.
        processes: how many share the work.
        published: whether it starts with published weights: a head is fitted first, its weights may go back, its
            ladder is pruned.
    """
    look = pace.look_s * (CROWDED if processes > 1 else 1.0) / processes
    tries = look * (PRUNED_COST if published else TRY_COST) * (blocks + 1)
    rungs, ladder = _fill(seconds * LADDER, tries, LEAST.rungs, MOST.rungs, LEAST.ladder_images)
    normalising = look * SALIENCY_COST * CALIBRATION_IMAGES
    network = look * SALIENCY_COST * PASSES * classes
    networks, saliency = _fill(
        seconds * SALIENCY,
        network + normalising / LEAST.saliency_images,
        LEAST.networks,
        MOST.networks,
        (LEAST.saliency_images,),
    )
    crowd = look / pace.look_s
    model = (
        look * MODEL_COST * (CALIBRATION_IMAGES + min(MOST_OF_A_TASK, TASK_SHARE * stored)) + MODEL_S * crowd
    )
    pairs = int(np.clip(seconds * PREDICTOR / model, LEAST.pairs, MOST.pairs))
    effort = Effort(
        networks=networks,
        saliency_images=min(MOST.saliency_images, saliency[0]),
        rungs=rungs,
        ladder_images=(min(MOST.ladder_images[0], ladder[0]), min(MOST.ladder_images[1], ladder[1])),
        pairs=pairs,
    )
    used = tries * effort.rungs * sum(effort.ladder_images)
    used += (normalising + network * effort.saliency_images) * effort.networks + model * effort.pairs
    used += ALWAYS_S
    if published:
        used += look * (images + WAYS * (CALIBRATION_IMAGES + min(MOST_OF_A_WAY, images * VALIDATION_SHARE)))
    step = alone * pace.full_step_s + (1 - alone) * pace.sandwich_step_s
    left = seconds * (1 - RESERVE) - used
    steps = left / (step * (CROWDED if processes > 1 else 1.0))
    return max(0.0, steps * batch / images), effort


def _fill(
    seconds: float, each: float, least: int, most: int, images: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    """Return how many of something, and on how many images of several kinds, fit into some seconds.

    First as many as may be on the least images, then more images.

    Args:
        seconds: there are.
        each: seconds of one on one image.
        least: of them.
        most: of them.
        images: the least of each kind.
    """
    count = int(np.clip(seconds / (each * sum(images)), least, most))
    more = max(1.0, seconds / (each * sum(images) * count))
    return count, tuple(int(number * more) for number in images)


def keep(chosen: Chosen, work: Path) -> None:
    """Write what was chosen for a run beside its state.

    Raises:
        Unwritten: the folder cannot be written.
    """
    write_whole(work / EFFORT_FILE, f"{json.dumps(asdict(chosen))}\n".encode())


def kept(work: Path, minutes: float) -> Chosen | None:
    """Return what was chosen for a run that is there, None where there is none.

    Raises:
        RunUnusable: it is damaged, or was chosen for another time.
    """
    path = work / EFFORT_FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        effort = found.pop("effort")
        effort["ladder_images"] = tuple(effort["ladder_images"])
        chosen = Chosen(**found, effort=Effort(**effort))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunUnusable(path, "the file is damaged; remove the folder to start anew") from error
    if chosen.minutes != minutes:
        raise RunUnusable(
            path, f"the run was planned for {chosen.minutes:g} minutes; say so again, or remove the folder"
        )
    return chosen
