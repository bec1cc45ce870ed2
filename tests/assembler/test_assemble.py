"""From a scenario to a model file that stands alone, or to an honest refusal."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from assembler.artifact import Assembly, Measured
from assembler.assemble import assemble
from assembler.device import Profile
from assembler.errors import CompileFailed, Infeasible
from assembler.estimate import estimate
from assembler.measure import measure_device
from assembler.phase import Phase, PhaseProgress
from assembler.propose import Estimator, propose
from assembler.scenario import Scenario, parse_scenario
from supernet.checkpoint import Checkpoint, load_checkpoint
from tests.shapes import SMALL
from tests.small import CLASSES, GROUPS, small_checkpoint, small_supernet

PHASES = ["assembling", "calibrating", "compiling", "verifying", "measuring"]
Kit = tuple[Checkpoint, Estimator, Profile]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder: Path = tmp_path_factory.mktemp("zoo") / "small"
    card = small_checkpoint(folder, small_supernet())
    *_, profile = measure_device(card)
    assert isinstance(profile, Profile)
    return load_checkpoint(folder), Estimator(folder, card), profile


def scenario(
    limits: dict[str, float], classes: tuple[str, ...] = ("fox", "ant", "bee"), **more: object
) -> Scenario:
    task = {"kind": "classification", "classes": classes, "other": more.pop("other", False)}
    return parse_scenario(json.dumps({"task": task, "limits": limits, **more}).encode())


def made(kit: Kit, asked: Scenario) -> Assembly:
    *_, assembly = assemble(asked, *kit)
    assert isinstance(assembly, Assembly)
    return assembly


def measured(assembly: Assembly) -> Measured:
    assert assembly.measured is not None
    return assembly.measured


def test_phases_come_in_order_and_the_assembly_last(kit: Kit) -> None:
    steps = list(assemble(scenario({"size_mb": 1.0}), *kit))
    assert [step.name for step in steps[:-1] if isinstance(step, Phase)] == PHASES
    assembly = steps[-1]
    assert isinstance(assembly, Assembly)
    assert assembly.limits_met
    assert assembly.artifact.bytes == len(assembly.content)
    assert measured(assembly).size_mb == len(assembly.content) / 1e6


def test_the_file_stands_alone(kit: Kit) -> None:
    assembly = made(kit, scenario({"size_mb": 1.0}))
    session = onnxruntime.InferenceSession(assembly.content)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["fox", "ant", "bee"]
    description = json.loads(told["input"])
    assert description["shape"] == ["N", 1, 16, 16]
    assert description["mean"] == [20.0]
    checkpoint = kit[0]
    mine = checkpoint.validation.of_classes([5, 0, 1])
    (scores,) = session.run(["scores"], {description["name"]: mine.images.astype(np.float32)})
    assert scores.shape == (60, 3)
    assert (scores.argmax(axis=1) == mine.labels).mean() == pytest.approx(measured(assembly).accuracy)
    onnx.checker.check_model(onnx.load_from_string(assembly.content), full_check=True)


def test_a_file_that_the_formats_checker_refuses_is_not_delivered(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: onnx.ModelProto) -> None:
        raise onnx.checker.ValidationError("no such operator")

    monkeypatch.setattr("onnx.checker.check_model", refuse)
    with pytest.raises(CompileFailed) as caught:
        made(kit, scenario({"size_mb": 1.0}))
    assert caught.value.reason == "no such operator"


def test_a_tighter_size_gives_a_smaller_file(kit: Kit) -> None:
    large = made(kit, scenario({"size_mb": 1.0}))
    small = made(kit, scenario({"size_mb": len(large.content) * 0.5 / 1e6}))
    assert len(small.content) <= len(large.content) * 0.5
    assert small.limits_met


def test_the_same_scenario_gives_the_same_bytes(kit: Kit) -> None:
    asked = scenario({"size_mb": 0.1})
    assert made(kit, asked).artifact == made(kit, asked).artifact


def test_classes_come_in_the_order_of_the_request(kit: Kit) -> None:
    answers = []
    for classes in (("fox", "ant", "bee"), ("bee", "fox", "ant")):
        session = onnxruntime.InferenceSession(made(kit, scenario({"size_mb": 1.0}, classes)).content)
        images = kit[0].validation.of_classes([5, 0, 1])
        (scores,) = session.run(None, {"image": images.images.astype(np.float32)})
        answers.append([classes[i] for i in scores.argmax(axis=1)])
    assert np.mean([a == b for a, b in zip(*answers, strict=True)]) > 0.9


def test_other_adds_an_output(kit: Kit) -> None:
    assembly = made(kit, scenario({"size_mb": 1.0}, other=True))
    assert assembly.manifest["classes"] == ["fox", "ant", "bee", "other"]
    (scores,) = onnxruntime.InferenceSession(assembly.content).run(
        None, {"image": kit[0].validation.images[:6].astype(np.float32)}
    )
    assert scores.shape == (6, 4)


def test_a_group_is_one_output(kit: Kit, tmp_path: Path) -> None:
    folder = tmp_path / "grouped"
    card = small_checkpoint(folder, small_supernet(), GROUPS)
    grouped = load_checkpoint(folder), Estimator(folder, card), kit[2]
    asked = scenario({"size_mb": 1.0}, ("mammal", "eel", "insect"))
    assembly = made(grouped, asked)
    assert assembly.manifest["classes"] == ["mammal", "eel", "insect"]
    assert estimate(asked, card, grouped[1], grouped[2]).feasible
    images = kit[0].validation
    session = onnxruntime.InferenceSession(assembly.content)
    (scores,) = session.run(None, {"image": images.images.astype(np.float32)})
    assert scores.shape == (len(images), 3)
    expected = np.array([2, 2, 0, 0, 1, 0])[images.labels]
    right = float((scores.argmax(axis=1) == expected).mean())
    assert measured(assembly).accuracy == pytest.approx(right)
    # Apart, as before: they are other models.
    assert made(grouped, scenario({"size_mb": 1.0}, ("cat", "eel"))).manifest["classes"] == ["cat", "eel"]


def test_a_limit_out_of_reach_is_refused_before_any_work(kit: Kit) -> None:
    steps = assemble(scenario({"latency_ms": 1e-5}), *kit)
    assert next(steps) == Phase("assembling")
    with pytest.raises(Infeasible) as refused:
        next(steps)
    assert refused.value.diagnosis.binding == ("latency_ms",)


def test_the_nearest_is_delivered_where_that_was_asked_for(kit: Kit) -> None:
    assembly = made(kit, scenario({"latency_ms": 1e-5}, on_infeasible="nearest"))
    assert not assembly.limits_met
    (check,) = assembly.limits_check
    assert check.limit == "latency_ms"
    assert check.value > check.requested
    assert not check.met


def test_an_accuracy_that_was_measured_too_low_is_refused_with_what_is_possible(kit: Kit) -> None:
    with pytest.raises(Infeasible) as refused:
        made(kit, scenario({"size_mb": 0.03, "accuracy_min": 1.0}, CLASSES))
    diagnosis = refused.value.diagnosis
    assert diagnosis.binding == ("accuracy_min",)
    assert 0.2 < diagnosis.best_possible.accuracy < 1.0


def test_shapes_that_run_slower_than_foretold_are_never_cut_out(kit: Kit) -> None:
    checkpoint, estimator, profile = kit
    dense = measured(made(kit, scenario({"size_mb": 1.0}))).latency_ms
    halved = {"scale": profile.latency.scale * 0.5, "offset_ms": profile.latency.offset_ms * 0.5}
    latency = profile.latency.model_copy(update=halved)
    hopeful = profile.model_copy(update={"latency": latency})
    limits = {"latency_ms": dense * 0.75}
    foretold = propose(scenario(limits), estimator, hopeful)[0]
    # Nearest, since a busy neighbour may slow down what is measured at last.
    steps = list(assemble(scenario(limits, on_infeasible="nearest"), checkpoint, estimator, hopeful))
    assembly = steps[-1]
    assert isinstance(assembly, Assembly)
    assert sum(step == Phase("calibrating") for step in steps) <= 2
    assert sum(map(len, assembly.manifest["supernet"]["modules_on"])) < sum(foretold.gates.counts)


def test_a_model_may_use_its_limit_up_where_it_is_timed(tmp_path: Path) -> None:
    supernet = small_supernet(architecture=SMALL.model_copy(update={"sides": ()}))
    card = small_checkpoint(tmp_path / "plain", supernet)
    *_, profile = measure_device(card)
    assert isinstance(profile, Profile)
    careful = profile.model_copy(update={"latency": profile.latency.model_copy(update={"margin": 0.5})})
    plain = load_checkpoint(tmp_path / "plain"), Estimator(tmp_path / "plain", card), careful
    dense = made(plain, scenario({"size_mb": 1.0}))
    asked = scenario({"latency_ms": measured(dense).latency_ms * 1.2})
    foretold = propose(asked, plain[1], careful)[0]
    assembly = made(plain, asked)
    assert assembly.limits_met
    assert sum(map(len, assembly.manifest["supernet"]["modules_on"])) > sum(foretold.gates.counts)


def test_of_a_limit_on_memory_a_verified_model_uses_as_much_as_was_foretold(kit: Kit) -> None:
    checkpoint, estimator, profile = kit
    careful = profile.model_copy(update={"memory": profile.memory.model_copy(update={"margin": 0.5})})
    dense = made(kit, scenario({"size_mb": 1.0}))
    asked = scenario({"memory_mb": dense.predicted.memory_mb * 1.501})
    *_, assembly = assemble(asked, checkpoint, estimator, careful)
    assert isinstance(assembly, Assembly)
    assert assembly.predicted.memory_mb == pytest.approx(dense.predicted.memory_mb, rel=0.005)
    assert assembly.manifest["supernet"]["modules_on"] == dense.manifest["supernet"]["modules_on"]


def test_an_unverified_model_is_cut_out_as_foretold(kit: Kit) -> None:
    dense = made(kit, scenario({"size_mb": 1.0}))
    asked = scenario({"size_mb": len(dense.content) * 0.8 / 1e6, "accuracy_min": 0.01}, verify=False)
    steps = list(assemble(asked, *kit))
    assert [step.name for step in steps[:-1] if isinstance(step, Phase)] == PHASES[:3]
    assembly = steps[-1]
    assert isinstance(assembly, Assembly)
    assert assembly.measured is None
    assert assembly.manifest["measured"] is None
    assert {check.limit: check.basis.value for check in assembly.limits_check} == {
        "size_mb": "profile",
        "accuracy_min": "estimate",
    }
    assert assembly.limits_met
    mine = kit[0].validation.of_classes([5, 0, 1])
    (scores,) = onnxruntime.InferenceSession(assembly.content).run(
        None, {"image": mine.images.astype(np.float32)}
    )
    assert (scores.argmax(axis=1) == mine.labels).mean() > 0.5


def test_an_unverified_model_foretold_too_inaccurate_is_refused(kit: Kit) -> None:
    with pytest.raises(Infeasible) as refused:
        made(kit, scenario({"size_mb": 0.03, "accuracy_min": 1.0}, CLASSES, verify=False))
    assert refused.value.diagnosis.binding == ("accuracy_min",)


@pytest.mark.parametrize("share", [0.8, 0.9, 1.5])
def test_a_check_foretells_the_unverified_model(kit: Kit, share: float) -> None:
    _, estimator, profile = kit
    dense = made(kit, scenario({"size_mb": 1.0}))
    limits = {"size_mb": len(dense.content) / 1e6, "latency_ms": dense.predicted.latency_ms * share}
    asked = scenario(limits, verify=False)
    told = estimate(asked, estimator.card, estimator, profile)
    assert told.predicted == made(kit, asked).predicted


def test_a_refined_model_is_delivered_where_it_is_better(kit: Kit) -> None:
    asked = scenario({"size_mb": 1.0}, CLASSES[:5], refine={"seconds": 1.0})
    *phases, assembly = assemble(asked, *kit)
    assert [step.name for step in phases if isinstance(step, Phase)] == [*PHASES, "refining"]
    shares = [step.share for step in phases if isinstance(step, PhaseProgress)]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert isinstance(assembly, Assembly)
    plain = made(kit, scenario({"size_mb": 1.0}, CLASSES[:5]))
    told = assembly.manifest["refined"]
    assert told["seconds"] == 1.0
    assert told["accuracy_before"] == measured(plain).accuracy
    assert told["kept"] == (told["accuracy_after"] > told["accuracy_before"])
    assert measured(assembly).accuracy == max(told["accuracy_before"], told["accuracy_after"])
    assert (assembly.content != plain.content) == told["kept"]
    assert "refined" not in plain.manifest


def elsewhere(kit: Kit, asked: Scenario) -> Assembly:
    """Make a model for a device that is as slow as this machine, but not it."""
    checkpoint, estimator, profile = kit
    profile = profile.model_copy(update={"device": "pi"})
    *_, assembly = assemble(asked, checkpoint, estimator, profile, is_here=False)
    assert isinstance(assembly, Assembly)
    return assembly


def test_a_model_for_a_device_elsewhere_keeps_to_its_limits_with_the_profiles_margins(kit: Kit) -> None:
    _, estimator, profile = kit
    dense = propose(scenario({"size_mb": 1.0}), estimator, profile)[0].predicted
    limits = {"latency_ms": dense.latency_ms, "memory_mb": dense.memory_mb, "accuracy_min": 0.01}
    assembly = elsewhere(kit, scenario(limits))
    assert assembly.limits_met
    predicted = assembly.predicted
    assert predicted.latency_ms * (1 + profile.latency.margin) <= limits["latency_ms"]
    assert predicted.memory_mb * (1 + profile.memory.margin) <= limits["memory_mb"]
    told = {check.limit: (check.basis.value, check.value) for check in assembly.limits_check}
    assert told == {
        "latency_ms": ("profile", predicted.latency_ms),
        "memory_mb": ("profile", predicted.memory_mb),
        "accuracy_min": ("measured", measured(assembly).accuracy),
    }
    assert measured(assembly).latency_ms is measured(assembly).memory_mb is None


def test_limits_out_of_reach_of_a_device_elsewhere_are_told(kit: Kit) -> None:
    with pytest.raises(Infeasible) as refused:
        elsewhere(kit, scenario({"latency_ms": 1e-5}))
    assert refused.value.diagnosis.binding == ("latency_ms",)
    nearest = elsewhere(kit, scenario({"latency_ms": 1e-5}, on_infeasible="nearest"))
    (check,) = nearest.limits_check
    assert (check.met, check.basis.value, check.value) == (False, "profile", nearest.predicted.latency_ms)
    assert not nearest.limits_met


def test_an_accuracy_that_is_missed_elsewhere_is_told_with_what_is_foretold_of_the_rest(kit: Kit) -> None:
    limits = {"size_mb": 0.03, "accuracy_min": 1.0}
    assembly = elsewhere(kit, scenario(limits, CLASSES, on_infeasible="nearest"))
    reached = measured(assembly).accuracy
    assert reached < 1.0
    with pytest.raises(Infeasible) as refused:
        elsewhere(kit, scenario(limits, CLASSES))
    best = refused.value.diagnosis.best_possible
    assert best.accuracy == pytest.approx(reached)
    assert best.latency_ms == assembly.predicted.latency_ms


def test_a_model_for_a_device_elsewhere_is_refined_without_being_timed(kit: Kit) -> None:
    asked = scenario({"latency_ms": 5.0}, refine={"seconds": 0.3}, on_infeasible="nearest")
    assembly = elsewhere(kit, asked)
    assert assembly.manifest["refined"]["seconds"] == 0.3
    assert measured(assembly).latency_ms is None
