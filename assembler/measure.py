"""Measure: latency and memory of a model file, and the Profile of this machine.

All models run in a process of their own (``stopwatch.py`` says how), never in the caller's.
Legend: L blocks, M modules of a block.
"""

import atexit
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from assembler.compile.onnx import build
from assembler.cost import peak_activation_bytes
from assembler.device import (
    LOCAL,
    Device,
    LatencyFit,
    Profile,
    Quality,
    ShrunkFit,
    check_writable,
    is_current,
    load_profile,
    profile_path,
    save_profile,
    this_machine,
)
from assembler.fit import Floats, believable, fit_latency, fit_memory, mape_of, margin_of, within_tenth
from assembler.meter import Meter
from assembler.nominal import nominal_profile
from assembler.plan import Counts, Plan, make_plan
from assembler.subnet import random_subnet
from supernet.card import BlockKind, Card, ImageInput

T = TypeVar("T")

MODEL_TIMEOUT_S = 60.0
NETS_TIMEOUT_S = 300.0
NETS_BUDGET_S = 5.0
NETS_ROUNDS = (4, 40)
# Noise only ever adds: a net that is slower than foretold by more than this is tried again, some time later, up to so
# many times in all, and the lowest latency counts.
SLOWER, TRIES = 1.02, 5
# Of the usual number of nets, for the whole image and for each side that it is shrunk to. Modules of inverted blocks
# are wide and each takes as long as the next, so that fewer counts of them say as much; their nets load slowly.
NETS_SHARES = {BlockKind.FUSED: (1.0, 0.5), BlockKind.INVERTED: (0.45, 0.2)}
# How a profile's time is shared out, in percent: building nets, timing them in turns, trying the others.
BUILD, TURNS, TRIALS = 6, 64, 30

Steps = Generator[float, None, T]


@dataclass(frozen=True, slots=True)
class ModelMeasurement:
    """What one model file took: ``latency_ms`` batch 1 at the percentile asked for, ``memory_mb`` at its peak."""

    latency_ms: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a profile is: ``done`` of ``total`` parts of about equal duration."""

    done: float
    total: float = 100.0


_shared = Meter()
atexit.register(_shared.close)


def measure_model(
    content: bytes | Path,
    image: ImageInput,
    *,
    threads: int = 1,
    percentile: float = 50,
    enough_ms: float = 0.0,
    timeout_s: float = MODEL_TIMEOUT_S,
    meter: Meter | None = None,
) -> ModelMeasurement:
    """Run a model in a clean process and return what it took.

    Latency is wall time of one image; the percentile is taken within short blocks of runs, of which the
    quickest counts, so that a busy machine and a quiet one give the same figure. Memory is how far the
    resident memory of the process rises, at its peak, from before the model is loaded until after its runs;
    the code of the runtime is resident before.

    Args:
        content: an ONNX file or its bytes.
        image: its input.
        threads: that the runtime computes with.
        percentile: of the runs, 1..99.
        enough_ms: the measurement may end as soon as the latency is known to be no more than this.
        timeout_s: after which the measurement is given up.
        meter: the process that measures; None takes one that all callers share.

    Raises:
        MeasurementFailed: the model cannot be loaded or run, ends its process, or takes too long.
    """
    if isinstance(content, bytes):
        with TemporaryDirectory(prefix="nnfactory-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(content)
            return measure_model(
                path,
                image,
                threads=threads,
                percentile=percentile,
                enough_ms=enough_ms,
                timeout_s=timeout_s,
                meter=meter,
            )
    request = {
        "do": "model",
        "path": str(content),
        "shape": [image.channels, image.height, image.width],
        "threads": threads,
        "percentile": percentile,
        "enough_ms": enough_ms,
    }
    *_, last = (meter or _shared).ask(request, timeout_s=timeout_s)
    return ModelMeasurement(**last["result"])


def ensure_profile(card: Card, data_dir: Path, device: Device = LOCAL) -> Iterator[Progress | Profile]:
    """Yield progress while the device is measured for a supernet, and last its Profile, saved.

    A saved profile that is still current is all that is yielded.

    Raises:
        ProfileDamaged: there is a file for it that is not a whole profile.
        ProfileUnsaved: the data folder cannot be written; this is found before anything is measured.
        MeasurementFailed: models cannot be run here.
    """
    path = profile_path(data_dir, device.name, card.digest)
    if path.exists():
        profile = load_profile(path, card.architecture)
        if is_current(profile, card, device):
            yield profile
            return
    check_writable(data_dir)
    for step in measure_device(card, device):
        if isinstance(step, Profile):
            save_profile(step, data_dir)
        yield step


def measure_device(card: Card, device: Device = LOCAL, *, seed: int = 0) -> Iterator[Progress | Profile]:
    """Yield progress while this machine is measured, and last the Profile.

    Nets with random weights are timed in turns: a reference, every block with every count of modules while
    the others stay at the reference, and random nets. The differences to the reference are the table; the
    random nets set its scale. Other random nets, each in a process of its own as a finished model is, show how
    well they are foretold and set the margins.

    Args:
        card: the supernet.
        device: what the profile is for.
        seed: of the random nets.

    Raises:
        MeasurementFailed: models cannot be run here.
    """
    start, architecture = time.monotonic(), card.architecture
    sides = architecture.every_side
    whole, shrunk = NETS_SHARES[architecture.blocks[0].kind]
    plans = [make_plan(architecture.at(side), seed, shrunk if side else whole) for side in sides]
    sized = list(zip(sides, plans, strict=True))
    nets = [(side, counts) for side, plan in sized for counts in plan.nets]
    tried = [(side, counts) for side, plan in sized for counts in plan.tried]
    with TemporaryDirectory(prefix="nnfactory-") as folder, Meter() as meter:
        paths = yield from _reported(_build([*nets, *tried], card, Path(folder)), 0, BUILD)
        turns = _take_turns(paths[: len(nets)], architecture.input, device, meter)
        latencies = yield from _reported(turns, BUILD, TURNS)
        nominal = nominal_profile(architecture)
        fits = {
            side: _fit(plan, np.array(mine), nominal.latency_at(side))
            for side, plan, mine in zip(sides, plans, _split(latencies, plans), strict=True)
        }
        foretold = [fits[side].predict_ms(counts) for side, counts in tried]
        trying = _try(paths[len(nets) :], foretold, architecture.input, device, meter)
        trials = yield from _reported(trying, BUILD + TURNS, TRIALS)
        sizes = [path.stat().st_size for path in paths[len(nets) :]]
    errors = np.array([trial.latency_ms for trial in trials]) / np.array(foretold) - 1
    fits = {side: fit.model_copy(update={"margin": margin_of(errors)}) for side, fit in fits.items()}
    activations = [peak_activation_bytes(architecture.at(side), counts) for side, counts in tried]
    memory, memory_errors = fit_memory(sizes, activations, np.array([trial.memory_mb for trial in trials]))
    yield Profile(
        device=device.name,
        machine=this_machine(),
        threads=device.threads,
        supernet=card.digest,
        measured_at=datetime.now(UTC),
        latency=fits[None],
        shrunk=tuple(ShrunkFit(side=side, latency=fits[side]) for side in architecture.sides),
        memory=memory,
        quality=Quality(
            nets=len(trials),
            latency_mape=mape_of(errors),
            latency_within_tenth=within_tenth(errors),
            memory_nets=len(trials),
            memory_mape=mape_of(memory_errors),
            duration_s=time.monotonic() - start,
        ),
    )


def _fit(plan: Plan, latencies: Floats, expected: LatencyFit) -> LatencyFit:
    """Return what the latencies of a plan's nets say; ``expected`` is the nominal device's."""
    table = believable(plan.table(latencies.tolist()), expected.table, plan.nets, latencies)
    return fit_latency(table, plan.fitted, latencies[len(latencies) - len(plan.fitted) :])


def _split(latencies: Sequence[float], plans: Sequence[Plan]) -> Iterator[Sequence[float]]:
    """Yield the latencies of the nets of every plan."""
    start = 0
    for plan in plans:
        yield latencies[start : start + len(plan.nets)]
        start += len(plan.nets)


def _reported(steps: Steps[T], start: float, width: float) -> Generator[Progress, None, T]:
    """Turn the share that is done of one part into progress of the whole, and return what the part returns."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        yield Progress(start + width * share)


def _build(nets: Sequence[tuple[int | None, Counts]], card: Card, folder: Path) -> Steps[list[Path]]:
    """Write a net with random weights for each of some sides and counts and return the files."""
    paths = []
    for index, (side, counts) in enumerate(nets):
        subnet = random_subnet(card.architecture.at(side), counts, len(card.classes), seed=index)
        paths.append(folder / f"{index}.onnx")
        paths[-1].write_bytes(build(subnet, card.architecture.input))
        yield len(paths) / len(nets)
    return paths


def _take_turns(paths: Sequence[Path], image: ImageInput, device: Device, meter: Meter) -> Steps[list[float]]:
    """Time nets in turns and return their latencies in ms."""
    request = {
        "do": "nets",
        "paths": [str(path) for path in paths],
        "shape": [image.channels, image.height, image.width],
        "threads": device.threads,
        "rounds": NETS_ROUNDS,
        "budget_s": NETS_BUDGET_S,
    }
    latencies: list[float] = []
    for message in meter.ask(request, timeout_s=NETS_TIMEOUT_S):
        if "result" in message:
            latencies = message["result"]
        else:
            yield message["round"] / message["rounds"]
    return latencies


def _try(
    paths: Sequence[Path], foretold: Sequence[float], image: ImageInput, device: Device, meter: Meter
) -> Steps[list[ModelMeasurement]]:
    """Measure nets as finished models are measured and return the best of each.

    Those that are slower than foretold are tried again: what was added by noise must not become the margin.
    """
    found: list[list[ModelMeasurement]] = [[] for _ in paths]
    for attempt in range(TRIES):
        for index, path in enumerate(paths):
            if attempt == 0 or min(t.latency_ms for t in found[index]) > foretold[index] * SLOWER:
                found[index].append(measure_model(path, image, threads=device.threads, meter=meter))
            yield (attempt * len(paths) + index + 1) / (TRIES * len(paths))
    return [ModelMeasurement(min(t.latency_ms for t in of), max(t.memory_mb for t in of)) for of in found]
