"""Candidate: a cut-out network with its score.

Legend: N images, F features, K outputs.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import onnxruntime

from assembler.compile.onnx import FEATURES_NAME, INPUT_NAME, build
from assembler.cost import macs
from assembler.extract import extract
from assembler.images import TaskImages, first
from assembler.refit import refit_head
from assembler.session import single_threaded
from assembler.subnet import Array, Subnet
from supernet.card import Architecture, ImageInput
from supernet.evaluate import as_batch
from supernet.gates import Gates
from supernet.layers import Statistics
from supernet.model import Supernet, calibrate

WORK_MACS = 8e9
FEWEST_IMAGES = 200
# Validation images that candidates and fitted heads are compared on: fewer where the network is large.
MOST_SCREENED, FEWEST_SCREENED, SCREEN_MACS = 300, 100, 1.5e9
# Images to normalise on: fewer where the network is large.
FEWEST_CALIBRATED, CALIBRATION_MACS = 64, 4.5e9
# A network must be better by so many standard errors where its modules were chosen by classes, and where its side of
# the image is not the one that is predicted to be best: see DECISIONS.md.
SURE, LIKELY = 3.0, 1.0
# How far a head may go from the supernet's to the one that is fitted.
WAYS = (0.25, 0.5, 0.75, 1.0)
MOST_AT_ONCE = 125


@dataclass(frozen=True, slots=True)
class Cut:
    """A network as it was cut out, with the supernet's head, and a session that computes its features.

    ``screened`` are those of a few validation images, N x F, whose outputs are ``answers``, N.
    """

    gates: Gates
    statistics: Statistics
    subnet: Subnet
    session: onnxruntime.InferenceSession
    screened: Array
    answers: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished network, what it was cut out with, and its accuracy on some validation images if it was scored."""

    gates: Gates
    statistics: Statistics
    subnet: Subnet
    accuracy: float | None


def cut(gates: Gates, supernet: Supernet, images: TaskImages, statistics: Statistics | None = None) -> Cut:
    """Cut a network out with some statistics, and where there are none, calibrate it."""
    work = macs(supernet.architecture.at(gates.side), gates.counts, len(images.outputs.rows))
    if statistics is None:
        calibration = first(images.calibration, max(FEWEST_CALIBRATED, int(CALIBRATION_MACS / work)))
        statistics = calibrate(supernet, gates, as_batch(calibration.images, supernet.mean.device))
    subnet = replace(extract(supernet, gates, statistics, images.outputs.rows), of=images.outputs.merged)
    session = features_session(subnet, supernet.architecture.input)
    few = first(images.validation, int(np.clip(SCREEN_MACS / work, FEWEST_SCREENED, MOST_SCREENED)))
    return Cut(gates, statistics, subnet, session, run_all(session, few.images), few.labels)


def screen(found: Cut) -> Array:
    """Return the cross-entropy of each of a few validation images with the supernet's head, N."""
    return losses(found.screened, found.answers, found.subnet)


def losses(known: Array, labels: npt.NDArray[np.int64], subnet: Subnet) -> Array:
    """Return the cross-entropy of each image with a network's head, N, from their features N x F."""
    logits = subnet.logits(known)
    peak = logits.max(axis=1, keepdims=True)
    normaliser: Array = peak[:, 0] + np.log(np.exp(logits - peak).sum(axis=1))
    return normaliser - logits[np.arange(len(labels)), labels]


def is_less(mine: Array, theirs: Array, *, by: float) -> bool:
    """Whether losses of the same images, N each, are lower on average by more than so many standard errors."""
    gain = theirs - mine
    return bool(gain.mean() > by * gain.std() / np.sqrt(len(gain)))


def preferred(cuts: Sequence[Cut]) -> list[int]:
    """Return the places of cut networks, the one to take first.

    The first of every side follows the budget alone: of those the one that is predicted to be best leads, which is the
    first of all, or the best of those that are likely better. What is surely better than that one comes before it.
    """
    if len(cuts) == 1:
        return [0]
    # A larger side is looked at on fewer images.
    few = min(len(found.answers) for found in cuts)
    screened = [screen(found)[:few] for found in cuts]
    by_loss = sorted(range(len(cuts)), key=lambda place: float(screened[place].mean()))
    sides = [found.gates.side for found in cuts]
    leader = next(
        place
        for place in by_loss
        if place == 0
        or (sides.index(sides[place]) == place and is_less(screened[place], screened[0], by=LIKELY))
    )
    return sorted(
        by_loss,
        key=lambda place: place != leader and not is_less(screened[place], screened[leader], by=SURE),
    )


def finish(
    found: Cut, architecture: Architecture, images: TaskImages, *, refit: bool = True, score: bool = True
) -> Candidate:
    """Fit the head for the task where that helps, unless ``refit`` is off, and score the network where that is wanted.

    The number of images is limited by the work they make: at least 200, all where the network is small.
    """
    most = most_images(architecture, found.gates, len(images.outputs.rows))
    subnet = refitted(found, images, most) if refit else found.subnet
    accuracy = None
    if score:
        validation = first(images.validation, most)
        accuracy = head_accuracy(run_all(found.session, validation.images), validation.labels, subnet)
    return Candidate(found.gates, found.statistics, subnet, accuracy)


def most_images(architecture: Architecture, gates: Gates, classes: int) -> int:
    """Return how many images a network is fitted or scored on at most: as many as its work allows, some in any case."""
    return max(FEWEST_IMAGES, int(WORK_MACS / macs(architecture.at(gates.side), gates.counts, classes)))


def features_session(subnet: Subnet, image: ImageInput) -> onnxruntime.InferenceSession:
    """Return a session that computes a network's features, one thread a call."""
    return single_threaded(build(subnet, image, output=FEATURES_NAME))


def run_all(session: onnxruntime.InferenceSession, images: npt.NDArray[np.uint8]) -> Array:
    """Return what a network says of images, N x its width, every core taking its share."""
    parts = cores() * math.ceil(len(images) / (MOST_AT_ONCE * cores()))

    def run(part: npt.NDArray[np.uint8]) -> Array:
        found: Array = session.run(None, {INPUT_NAME: part.astype(np.float32)})[0]
        return found

    return np.concatenate(list(_pool().map(run, np.array_split(images, max(1, min(parts, len(images)))))))


@lru_cache
def _pool() -> ThreadPoolExecutor:
    # Threads of our own, each with a single-threaded call, keep their pace on a busy machine; the runtime's
    # own threads wait for one another many times a call.
    return ThreadPoolExecutor(cores(), thread_name_prefix="features")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def head_accuracy(known: Array, labels: npt.NDArray[np.int64], subnet: Subnet) -> float:
    """Return the share of images that a network's head classifies right, from their features N x F."""
    return float((subnet.logits(known).argmax(axis=1) == labels).mean())


def refitted(found: Cut, images: TaskImages, most: int) -> Subnet:
    """Return a network with a head fitted for the task on at most so many images, as far as that is better on others.

    Others are validation images: those to fit on were trained on, and a supernet is surer of them than it should be. So
    the head goes from the supernet's towards the fitted one only as far as they like it: half as many as it is fitted
    on at most, those that were screened in any case.
    Source: weight-space ensembles of a start and what was fitted (Wortsman et al., arXiv 2109.01903).
    """
    subnet, fit = found.subnet, first(images.fit, most)
    if len(np.unique(fit.labels)) < subnet.outputs:
        return subnet
    known = run_all(found.session, fit.images)
    weight, bias = refit_head(known, fit.labels, subnet.head_weight, subnet.head_bias, of=subnet.of)
    tried = [
        subnet.with_head(
            subnet.head_weight + way * (weight - subnet.head_weight),
            subnet.head_bias + way * (bias - subnet.head_bias),
        )
        for way in WAYS
    ]
    others, answers = _judges(found, images, most // 2)
    return min([subnet, *tried], key=lambda net: float(losses(others, answers, net).mean()))


def _judges(found: Cut, images: TaskImages, most: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return the features and answers of the first validation images: those that were screened, and more up to most."""
    seen = len(found.answers)
    more = first(images.validation, most)
    if len(more.labels) <= seen:
        return found.screened, found.answers
    rest = run_all(found.session, more.images[seen:])
    return np.concatenate([found.screened, rest]), np.concatenate([found.answers, more.labels[seen:]])
