"""Train a supernet: the full net alone, then sandwiches of it and smaller sub-networks.

Every step is a function of (seed, step), so a run continues where it stopped. With several processes each
takes its share of the batch, the same gates, and the gradients are averaged.
Legend: B images, F features, K classes.
Source: sandwich rule and in-place distillation (Yu and Huang, arXiv 1903.05134).
"""

import copy
import io
import math
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from supernet.augment import Augmentation, augment
from supernet.data import Split
from supernet.errors import RunUnusable
from supernet.gates import Gates, full_gates
from supernet.losses import features_loss, task_loss
from supernet.model import Supernet
from supernet.writing import write_whole

# Beside sub-networks the full net learns at every second step; at the others it only teaches.
FULL_EVERY = 2
# A task whose classes have a smaller share of the images than this gets half of the batch.
FEW = 0.25

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how to train; ``batch`` counts the images of a step over all processes.

    ``average`` is the share that the moving average of the weights keeps a step, 0 takes the weights as they are;
    ``teach`` says whether the full net teaches the others, ``imitate`` how much it counts that their features are its
    own, ``bfloat16`` whether convolutions compute in short floats, which pays on GPUs alone; ``stands`` whether the
    full net, once it has been trained alone, teaches as it is then, while its weights learn on with the sub-networks'.
    """

    epochs: float = 60.0
    batch: int = 192
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.03
    average: float = 0.999
    teach: bool = True
    imitate: float = 0.0
    stands: bool = False
    bfloat16: bool = False
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sub-network of a step: its gates, the task it is for, and factors of its active modules."""

    gates: Gates
    classes: tuple[int, ...]
    strengths: list[Tensor] | None = None


Sampler = Callable[[np.random.Generator, float], list[Sample]]


class Run:
    """What a training run carries from step to step; ``save`` and ``load`` keep it on disk.

    ``teacher`` is the net that sub-networks learn from, None where that is the full net as it is trained.
    ``companions`` are modules and optimizers that others train beside the supernet; they are kept with it.
    """

    def __init__(self, supernet: Supernet, recipe: Recipe) -> None:
        self.supernet = supernet
        self.average = copy.deepcopy(supernet)
        self.recipe = recipe
        self.step = 0
        self.seconds = 0.0
        self.teacher: Supernet | None = copy.deepcopy(supernet) if recipe.stands else None
        self.companions: dict[str, nn.Module | torch.optim.Optimizer] = {}
        if self.teacher is not None:
            self.companions["teacher"] = self.teacher
        decayed = [p for p in supernet.parameters() if p.ndim > 1]
        plain = [p for p in supernet.parameters() if p.ndim <= 1]
        groups: list[dict[str, object]] = [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True
        )

    def parameters(self) -> list[nn.Parameter]:
        """Return all that is trained."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def start_from(self, supernet: Supernet) -> None:
        """Go on with the weights of a supernet, as at the start of a run."""
        weights = copy.deepcopy(supernet.state_dict())
        for mine in (self.supernet, self.average, self.teacher):
            if mine is not None:
                mine.load_state_dict(weights)
        self.optimizer.state.clear()

    @torch.no_grad()
    def part_way(self, share: float) -> Supernet:
        """Return the net a share of the way from the trained weights back to those of the start, 0..1.

        The teacher has the weights of the start until ``start_from`` gives it others.
        Source: robust fine-tuning (Wortsman et al., arXiv 2109.01903).
        """
        assert self.teacher is not None
        found = copy.deepcopy(self.average)
        for mine, begin in zip(found.parameters(), self.teacher.parameters(), strict=True):
            mine.lerp_(begin, share)
        return found

    def save(self, path: Path, fingerprint: str = "") -> None:
        """Write the whole state; a reader sees the old file or the new one, never half of one.

        Args:
            path: the file.
            fingerprint: of what the run trains on and how.

        Raises:
            Unwritten: the disk is full, for instance; the file that was there stays.
        """
        state = {
            "fingerprint": fingerprint,
            "step": self.step,
            "seconds": self.seconds,
            "supernet": self.supernet.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "companions": {name: companion.state_dict() for name, companion in self.companions.items()},
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_whole(path, content.getbuffer())

    def load(self, path: Path, fingerprint: str = "") -> None:
        """Read a state written by ``save``.

        Raises:
            RunUnusable: the file is damaged, or was written by a run with another fingerprint.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
            raise RunUnusable(path, "the file is damaged; remove it to start anew") from error
        if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
            reason = "it was made from other data or with other options; remove it, or name another --work"
            raise RunUnusable(path, reason)
        self.step, self.seconds = state["step"], state["seconds"]
        self.supernet.load_state_dict(state["supernet"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, companion in self.companions.items():
            companion.load_state_dict(state["companions"][name])


def learning_rate_factor(progress: float, warmup: float) -> float:
    """Return the share of the full learning rate at a share of the run: a linear rise, then a half cosine."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))


def steps_of(recipe: Recipe, images: int) -> int:
    """Return the steps of a whole run on so many images."""
    return max(1, round(recipe.epochs * images / recipe.batch))


def batch_indices(recipe: Recipe, images: int, step: int, rank: int, world: int) -> Places:
    """Return which images process ``rank`` of ``world`` takes at a step, int64."""
    per_epoch = max(1, images // recipe.batch)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng((recipe.seed, 1, epoch)).permutation(images)
    whole = order[place * recipe.batch : (place + 1) * recipe.batch]
    return whole[rank::world]


def train_steps(
    run: Run,
    data: Split,
    stop: int,
    total: int,
    sampler: Sampler,
    *,
    leg: tuple[int, int] | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[float]:
    """Train up to step ``stop`` of ``total``, yielding the loss of the full net, or the teacher's, after every step.

    Args:
        run: trained in place.
        data: the training images.
        stop: first step that is not made.
        total: steps of the whole run, for the learning rate.
        sampler: gives the sub-networks of a step, from a generator and the progress 0..1.
        leg: first step, and first step after, of the part of the run over which the learning rate rises and falls; None
            is the whole of it.
        rank: this process.
        world: how many processes train together.
    """
    recipe, supernet = run.recipe, run.supernet
    device = supernet.mean.device
    images = torch.from_numpy(data.images).to(device if device.type == "cuda" else "cpu")
    labels = torch.from_numpy(data.labels)
    dense, everything = full_gates(supernet.architecture), tuple(range(supernet.head.out_features))
    begin, end = leg or (0, total)
    started = time.monotonic() - run.seconds
    while run.step < stop:
        samples = sampler(np.random.default_rng((recipe.seed, 2, run.step)), run.step / total)
        places = batch_indices(recipe, len(data), run.step, rank, world)
        even = len(places)
        if samples:
            rarest = min((sample.classes for sample in samples), key=len)
            draw_more = np.random.default_rng((recipe.seed, 5, run.step, rank))
            places, even = favoured(places, data.labels, rarest, draw_more)
        chosen = torch.from_numpy(places)
        draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + run.step * world + rank)
        batch = augment(images[chosen.to(images.device)], recipe.augmentation, draw)
        batch = batch.to(device, memory_format=torch.channels_last)
        target = labels[chosen].to(device)
        factor = learning_rate_factor((run.step - begin) / (end - begin), recipe.warmup)
        for group in run.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * factor
        run.optimizer.zero_grad(set_to_none=True)
        learns = not samples or run.step % FULL_EVERY == 0
        apart = run.teacher if samples else None
        with torch.set_grad_enabled(learns and apart is None), short_floats(device, recipe):
            features = (apart or supernet).features(batch, dense).float()
            logits = (apart or supernet).head(features).float()
            loss = nn.functional.cross_entropy(logits[:even], target[:even])
        taught = Taught(batch, target, features.detach(), logits.detach())
        if apart is None and learns:
            loss.backward()  # type: ignore[no-untyped-call]
        elif learns:
            samples = [Sample(dense, everything), *samples]
        for sample in samples:
            _backward(supernet, taught, sample, even, recipe)
        share_gradients(run.parameters(), world)
        nn.utils.clip_grad_norm_(run.parameters(), 5.0)
        run.optimizer.step()
        run.step += 1
        _average(run, recipe)
        run.seconds = time.monotonic() - started
        yield float(loss.detach())


def short_floats(device: torch.device, recipe: Recipe) -> torch.autocast:
    """Return the context in which a network computes as the recipe says."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.bfloat16)


def favoured(
    places: Places, labels: Places, classes: Sequence[int], draw: np.random.Generator
) -> tuple[Places, int]:
    """Return the images of a step, and how many of them, from the first on, are of all classes alike.

    Where few of a batch are of a task's classes, its second half is swapped for images of those alone.

    Args:
        places: of the batch's images among all.
        labels: of all images.
        classes: of the task.
        draw: picks the images.
    """
    if np.isin(labels[places], classes).mean() >= FEW:
        return places, len(places)
    mine, even = np.flatnonzero(np.isin(labels, classes)), len(places) // 2
    more = draw.choice(mine, len(places) - even, replace=len(mine) < len(places) - even)
    return np.concatenate([places[:even], more]), even


class Taught(NamedTuple):
    """A batch and what the full net makes of it: images, labels B, features B x F, logits B x K."""

    images: Tensor
    labels: Tensor
    features: Tensor
    logits: Tensor


def _backward(supernet: Supernet, taught: Taught, sample: Sample, even: int, recipe: Recipe) -> None:
    device = taught.images.device
    classes = torch.tensor(sample.classes, dtype=torch.int64, device=device)
    mine = torch.isin(taught.labels, classes)
    if len(classes) == taught.logits.shape[1]:
        mine[even:] = False
    if not bool(mine.any()):
        return
    strengths = None if sample.strengths is None else [s.to(device) for s in sample.strengths]
    # All images go through, so that layers are normalised as they will be when the network is calibrated.
    with short_floats(device, recipe):
        features = supernet.features(taught.images, sample.gates, None, strengths)[mine]
        logits = supernet.head(features).float()
    teacher = taught.logits[mine] if recipe.teach else None
    loss = task_loss(logits, taught.labels[mine], classes, teacher)
    if recipe.teach and recipe.imitate:
        loss = loss + recipe.imitate * features_loss(features.float(), taught.features[mine])
    loss.backward()  # type: ignore[no-untyped-call]


def share_gradients(parameters: list[nn.Parameter], world: int) -> None:
    """Replace every gradient by its mean over all processes; a missing one counts as zero."""
    if world == 1:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters])
    distributed.all_reduce(flat)
    flat /= world
    parts = torch.split(flat, [p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


@torch.no_grad()
def _average(run: Run, recipe: Recipe) -> None:
    decay = min(recipe.average, (1 + run.step) / (10 + run.step))
    for mine, source in zip(run.average.parameters(), run.supernet.parameters(), strict=True):
        mine.lerp_(source, 1 - decay)
