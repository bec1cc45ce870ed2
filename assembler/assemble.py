"""All steps in order: from a Scenario to a verified model file."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial

import onnx

from assembler.artifact import MEGABYTE, Assembly, Basis, Diagnosis, LimitCheck, Measured, Predicted, address
from assembler.candidate import Candidate, cut, finish, refitted
from assembler.choose import Chooser
from assembler.compile.onnx import build
from assembler.device import Profile
from assembler.errors import CompileFailed, Infeasible
from assembler.estimate import missed_when_measured, needed_limits, too_inaccurate, too_tight
from assembler.images import TaskImages, task_images
from assembler.manifest import manifest_of, metadata_of
from assembler.measure import ModelMeasurement, measure_model
from assembler.phase import Phase, PhaseProgress
from assembler.propose import Estimator, caps_of, least_cost, propose
from assembler.refine import refine
from assembler.scenario import Limits, OnInfeasible, Scenario
from assembler.search import Caps
from assembler.subnet import Subnet
from assembler.timing import RESERVE, RETRIES, Timed, fits, hopeful, quickest
from assembler.verify import verify
from supernet.augment import Augmentation
from supernet.card import Card
from supernet.checkpoint import Checkpoint
from supernet.gates import Gates

# A head for a model that is not verified is fitted on so many images.
UNVERIFIED_IMAGES = 500


def assemble(
    scenario: Scenario,
    checkpoint: Checkpoint,
    estimator: Estimator,
    profile: Profile,
    *,
    is_here: bool = True,
) -> Iterator[Phase | PhaseProgress | Assembly]:
    """Yield every Phase as it begins, how far a long one has come, then the Assembly.

    Shapes are chosen as if the profile foretold their latency without error, and timed before a model is finished
    (latency does not depend on weights): a model may use its limit up, and what is too slow costs little. The finished
    file is measured in any case; one that turns out slower or larger in memory than allowed gives way to another, up to
    three times. Where the scenario wants no verification, the first proposal is cut out as
    it is foretold. Where it wants it refined, the finished model is trained further and delivered so only if that is
    better. For a device that is elsewhere nothing is timed: shapes are chosen with the margins of its profile, which
    judges them too, and accuracy and size alone are those of the file.

    Args:
        scenario: resolved: its classes are in the checkpoint's vocabulary.
        checkpoint: where the model is cut out.
        estimator: of the same checkpoint.
        profile: of the scenario's device, for the same checkpoint.
        is_here: whether that device is the machine this runs on.

    Raises:
        Infeasible: no model meets the limits, and the scenario does not ask for the nearest.
        CompileFailed: the format's own checker refuses the file.
        VerificationFailed: the file does not compute what the supernet computes.
        MeasurementFailed: the file cannot be run.
    """
    card, image = checkpoint.card, checkpoint.card.architecture.input
    nearest = scenario.on_infeasible is OnInfeasible.NEAREST
    yield Phase("assembling")
    diagnosis = too_tight(scenario, card, estimator, profile)
    if diagnosis is not None and not nearest:
        raise Infeasible(diagnosis)
    caps = _reachable(scenario, card, profile)
    if not scenario.verify:
        yield from _unverified(scenario, checkpoint, estimator, profile, None if diagnosis is None else caps)
        return
    if not is_here:
        yield from _elsewhere(scenario, checkpoint, estimator, profile, None if diagnosis is None else caps)
        return
    images, timed = images_for(scenario, checkpoint), Timed(scenario, card, profile)
    chooser = Chooser(scenario, checkpoint, estimator, profile, images, hopeful(caps, profile), timed)
    kept: tuple[Assembly, Gates] | None = None
    yield Phase("calibrating")
    choice = chooser.choose()
    for attempt in range(RETRIES + 1):
        assert choice is not None
        best, proposal = choice.candidate, choice.proposal
        content, accuracy = yield from _verified(best, scenario, checkpoint, images)
        yield Phase("measuring")
        measurement = quickest(
            scenario.limits,
            partial(
                measure_model,
                content,
                image,
                threads=profile.threads,
                percentile=scenario.limits.latency_percentile,
            ),
        )
        measured = _measured(content, measurement, accuracy, len(images.validation), scenario.limits)
        assembly = _assembly(scenario, card, profile, best.gates, proposal.predicted, content, measured)
        if fits(scenario.limits, measurement) or attempt == RETRIES:
            break
        if kept is None and assembly.limits_met:
            kept = assembly, best.gates
        chooser.lower(choice, measurement)
        yield Phase("calibrating")
        choice = chooser.choose()
        if choice is None:
            break
    gates = best.gates
    if not assembly.limits_met and kept is not None:
        assembly, gates = kept
    if scenario.refine is not None and (nearest or _lacks_at_most_accuracy(assembly)):
        yield Phase("refining")
        assembly = yield from _refined(
            scenario, checkpoint, estimator, profile, images, assembly, gates, is_here=True
        )
    if not assembly.limits_met and not nearest:
        raise Infeasible(_missed(scenario, estimator, profile, assembly, measured))
    yield assembly


def images_for(scenario: Scenario, checkpoint: Checkpoint) -> TaskImages:
    """Return the checkpoint's images, sorted for a scenario's task."""
    task = scenario.task
    outputs = checkpoint.card.outputs(task)
    return task_images(outputs, checkpoint.calibration, checkpoint.validation, other=task.other)


def _unverified(
    scenario: Scenario, checkpoint: Checkpoint, estimator: Estimator, profile: Profile, caps: Caps | None
) -> Iterator[Phase | Assembly]:
    """Cut out what is foretold to be best, its head fitted on few images; nothing is measured.

    Args:
        scenario: as ``assemble`` takes it, like all that is not named here.
        checkpoint: likewise.
        estimator: likewise.
        profile: likewise.
        caps: instead of limits that no model is foretold to keep to.

    Raises:
        Infeasible: it is foretold to be less accurate than asked for, and the scenario does not ask for the nearest.
    """
    card = checkpoint.card
    proposal = propose(scenario, estimator, profile, caps)[0]
    predicted = proposal.predicted
    checks = _checks(scenario.limits, predicted, None)
    nearest = scenario.on_infeasible is OnInfeasible.NEAREST
    if not nearest and predicted.accuracy < (scenario.limits.accuracy_min or 0.0):
        raise Infeasible(too_inaccurate(scenario, estimator, profile, predicted))
    images = images_for(scenario, checkpoint)
    yield Phase("calibrating")
    found = cut(proposal.gates, checkpoint.supernet, images)
    subnet = refitted(found, images, UNVERIFIED_IMAGES) if estimator.pieces.refit else found.subnet
    yield Phase("compiling")
    content = _compiled(subnet, scenario, card)
    artifact = address(content, format=scenario.format, precision=scenario.precision)
    manifest = manifest_of(scenario, card, profile, proposal.gates, artifact, (predicted, None, checks))
    yield Assembly(content, artifact, manifest, predicted, None, checks)


def _elsewhere(
    scenario: Scenario, checkpoint: Checkpoint, estimator: Estimator, profile: Profile, caps: Caps | None
) -> Iterator[Phase | PhaseProgress | Assembly]:
    """Make a model for a device that is elsewhere; arguments are those of ``_unverified``.

    Raises:
        Infeasible, CompileFailed, VerificationFailed: as ``assemble`` says.
    """
    card, nearest = checkpoint.card, scenario.on_infeasible is OnInfeasible.NEAREST
    images, caps = images_for(scenario, checkpoint), caps or caps_of(scenario.limits)
    yield Phase("calibrating")
    choice = Chooser(scenario, checkpoint, estimator, profile, images, caps, None).choose()
    assert choice is not None
    best, proposal = choice.candidate, choice.proposal
    content, accuracy = yield from _verified(best, scenario, checkpoint, images)
    measured = _measured(content, None, accuracy, len(images.validation), scenario.limits)
    assembly = _assembly(scenario, card, profile, best.gates, proposal.predicted, content, measured)
    if scenario.refine is not None and (nearest or _lacks_at_most_accuracy(assembly)):
        yield Phase("refining")
        assembly = yield from _refined(
            scenario, checkpoint, estimator, profile, images, assembly, best.gates, is_here=False
        )
    if not assembly.limits_met and not nearest:
        raise Infeasible(_missed(scenario, estimator, profile, assembly, measured))
    yield assembly


def _verified(
    best: Candidate, scenario: Scenario, checkpoint: Checkpoint, images: TaskImages
) -> Generator[Phase, None, tuple[bytes, float]]:
    """Yield the phases in which a candidate becomes a file; return that and its accuracy on validation images."""
    yield Phase("compiling")
    content = _compiled(best.subnet, scenario, checkpoint.card)
    yield Phase("verifying")
    return content, verify(content, best, checkpoint.supernet, images.validation)


def _reachable(scenario: Scenario, card: Card, profile: Profile) -> Caps:
    """Return the scenario's caps, latency less the reserve, those below the cheapest model raised to it."""
    needed = needed_limits(least_cost(scenario, card, profile), profile)
    caps = caps_of(scenario.limits)
    limits = scenario.limits.requested
    # Networks are proposed with the profile's margin on memory, but in hope on latency: see ``hopeful``.
    reserved = {name: limits[name] * RESERVE if name == "latency_ms" else limits[name] for name in limits}
    return replace(
        caps, **{name: max(reserved[name], least) for name, least in needed.items() if name in limits}
    )


def _compiled(subnet: Subnet, scenario: Scenario, card: Card) -> bytes:
    """Return the model file.

    Raises:
        CompileFailed: the format's own checker refuses it.
    """
    content = build(subnet, card.architecture.input, metadata_of(scenario, card))
    try:
        onnx.checker.check_model(onnx.load_from_string(content))
    except onnx.checker.ValidationError as error:
        raise CompileFailed(str(error)) from error
    return content


def _measured(
    content: bytes, measurement: ModelMeasurement | None, accuracy: float, samples: int, limits: Limits
) -> Measured:
    return Measured(
        latency_ms=None if measurement is None else measurement.latency_ms,
        latency_percentile=limits.latency_percentile,
        memory_mb=None if measurement is None else measurement.memory_mb,
        size_mb=len(content) / MEGABYTE,
        accuracy=accuracy,
        samples=samples,
    )


def _assembly(
    scenario: Scenario,
    card: Card,
    profile: Profile,
    gates: Gates,
    predicted: Predicted,
    content: bytes,
    measured: Measured,
) -> Assembly:
    artifact = address(content, format=scenario.format, precision=scenario.precision)
    checks = _checks(scenario.limits, predicted, measured)
    manifest = manifest_of(scenario, card, profile, gates, artifact, (predicted, measured, checks))
    return Assembly(content, artifact, manifest, predicted, measured, checks)


def _lacks_at_most_accuracy(assembly: Assembly) -> bool:
    return all(check.met or check.limit == "accuracy_min" for check in assembly.limits_check)


def _refined(
    scenario: Scenario,
    checkpoint: Checkpoint,
    estimator: Estimator,
    profile: Profile,
    images: TaskImages,
    plain: Assembly,
    gates: Gates,
    *,
    is_here: bool,
) -> Generator[PhaseProgress, None, Assembly]:
    """Train a model further; return it where it is better on the validation images and as quick, else the plain one."""
    assert scenario.refine is not None
    assert plain.measured is not None
    card, image, seconds = checkpoint.card, checkpoint.card.architecture.input, scenario.refine.seconds
    augmentation = (
        Augmentation(**card.training.augmentation) if card.training.augmentation else Augmentation()
    )
    steps = refine(checkpoint.supernet, gates, images, seconds, augmentation=augmentation)
    while True:
        try:
            yield PhaseProgress(next(steps))
        except StopIteration as end:
            student, statistics = end.value
            break
    found = cut(gates, student, images, statistics)
    candidate = finish(found, card.architecture, images, refit=estimator.pieces.refit, score=False)
    content = _compiled(candidate.subnet, scenario, card)
    accuracy = verify(content, candidate, student, images.validation)
    kept, before = plain, plain.measured.accuracy
    if accuracy > before:
        percentile = scenario.limits.latency_percentile
        measurement = (
            measure_model(content, image, threads=profile.threads, percentile=percentile) if is_here else None
        )
        measured = _measured(content, measurement, accuracy, len(images.validation), scenario.limits)
        better = _assembly(scenario, card, profile, gates, plain.predicted, content, measured)
        missed = {check.limit for check in plain.limits_check if not check.met}
        if missed.issuperset(check.limit for check in better.limits_check if not check.met):
            kept = better
    told = {
        "seconds": seconds,
        "kept": kept is not plain,
        "accuracy_before": before,
        "accuracy_after": accuracy,
    }
    return replace(kept, manifest={**kept.manifest, "refined": told})


def _checks(limits: Limits, predicted: Predicted, measured: Measured | None) -> tuple[LimitCheck, ...]:
    """Return how a model stands to every limit that is set, as measured or else as foretold."""
    checks = []
    for name, requested in limits.requested.items():
        figure, accuracy = name.removesuffix("_min"), name == "accuracy_min"
        value = None if measured is None else getattr(measured, figure)
        basis = Basis.MEASURED
        if value is None:
            value = getattr(predicted, figure)
            basis = Basis.ESTIMATE if accuracy else Basis.PROFILE
        met = value >= requested if accuracy else value <= requested
        checks.append(LimitCheck(limit=name, requested=requested, value=value, basis=basis, met=met))
    return tuple(checks)


def _missed(
    scenario: Scenario, estimator: Estimator, profile: Profile, assembly: Assembly, measured: Measured
) -> Diagnosis:
    """Return the diagnosis of a model that turned out worse than predicted."""
    figures = Predicted(
        latency_ms=_known(measured.latency_ms, assembly.predicted.latency_ms),
        memory_mb=_known(measured.memory_mb, assembly.predicted.memory_mb),
        size_mb=measured.size_mb,
        accuracy=measured.accuracy,
    )
    missed = tuple(check.limit for check in assembly.limits_check if not check.met)
    if missed == ("accuracy_min",):
        hope = assembly.predicted.accuracy - measured.accuracy
        return too_inaccurate(scenario, estimator, profile, figures, measured=True, hope=hope)
    return missed_when_measured(figures, missed)


def _known(measured: float | None, foretold: float) -> float:
    return foretold if measured is None else measured
