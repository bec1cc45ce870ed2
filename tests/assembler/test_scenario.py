import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.errors import MalformedJson, ScenarioInvalid
from assembler.scenario import OnInfeasible, Scenario, parse_scenario, parse_survey, resolve, scenario_digest
from supernet.card import Card
from tests.service.making import make_card

BODY: dict[str, Any] = {
    "task": {"kind": "classification", "classes": ["sneaker", "bag", "coat"], "other": False},
    "device": "local",
    "limits": {
        "latency_ms": 1.5,
        "latency_percentile": 50,
        "memory_mb": 16,
        "size_mb": 1.0,
        "accuracy_min": 0.9,
    },
    "format": "onnx",
    "precision": "fp32",
    "supernet": None,
    "on_infeasible": "fail",
    "deadline_s": 120,
    "name": "dock 3",
    "labels": {"site": "rotterdam"},
}


SHOES = make_card("shoes", ("sneaker", "boot", "sandal"))
GROUPED = SHOES.model_copy(update={"groups": {"closed": (0, 1), "any": (0, 1, 2)}})
CLOTHES = make_card("clothes", ("coat", "bag", "sneaker"))


def body(**changes: Any) -> bytes:
    return json.dumps({**BODY, **changes}).encode()


def invalid(raw: bytes) -> ScenarioInvalid:
    with pytest.raises(ScenarioInvalid) as caught:
        parse_scenario(raw)
    return caught.value


def asking_for(*classes: str, supernet: str | None = None) -> Scenario:
    return parse_scenario(body(task={"kind": "classification", "classes": list(classes)}, supernet=supernet))


def test_the_example_of_the_contract_is_read_field_by_field() -> None:
    scenario = parse_scenario(body())
    assert scenario.task.classes == ("sneaker", "bag", "coat")
    assert scenario.limits.memory_mb == 16.0
    assert scenario.on_infeasible is OnInfeasible.FAIL
    assert scenario.model_dump(mode="json") == BODY | {"verify": True, "refine": None}


def test_all_but_task_and_one_limit_may_be_left_out() -> None:
    raw = b'{"task": {"kind": "classification", "classes": ["a"]}, "limits": {"size_mb": 1}}'
    scenario = parse_scenario(raw)
    assert (scenario.device, scenario.format, scenario.precision) == ("local", "onnx", "fp32")
    assert scenario.limits.requested == {"size_mb": 1.0}
    assert (scenario.supernet, scenario.deadline_s, scenario.name, scenario.labels) == (None, None, None, {})


@given(
    classes=st.lists(st.text("abc é漢", min_size=1, max_size=9), min_size=1, max_size=5, unique=True),
    latency_ms=st.floats(min_value=1e-6, max_value=1e6),
    name=st.none() | st.text("xyz ", max_size=9),
)
def test_a_scenario_survives_json_and_back(classes: list[str], latency_ms: float, name: str | None) -> None:
    scenario = parse_scenario(
        body(
            task={"kind": "classification", "classes": classes}, limits={"latency_ms": latency_ms}, name=name
        )
    )
    assert parse_scenario(scenario.model_dump_json().encode()) == scenario


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"limits": {}}, "no-limits", "/limits"),
    ({"limits": None}, "no-limits", "/limits"),
    ({"limits": {"latency_percentile": 50}}, "no-limits", "/limits"),
    ({"limits": {"latency_ms": None}}, "no-limits", "/limits"),
    ({"limits": {"latency_ms": -1}}, "scenario-invalid", "/limits/latency_ms"),
    ({"limits": {"latency_ms": 0}}, "scenario-invalid", "/limits/latency_ms"),
    ({"limits": {"latency_ms": True}}, "scenario-invalid", "/limits/latency_ms"),
    ({"limits": {"memory_mb": "16"}}, "scenario-invalid", "/limits/memory_mb"),
    ({"limits": {"size_mb": [1]}}, "scenario-invalid", "/limits/size_mb"),
    ({"limits": {"accuracy_min": 1.01}}, "scenario-invalid", "/limits/accuracy_min"),
    ({"limits": {"accuracy_min": 10**400}}, "scenario-invalid", "/limits/accuracy_min"),
    (
        {"limits": {"size_mb": 1, "latency_percentile": 50.5}},
        "scenario-invalid",
        "/limits/latency_percentile",
    ),
    ({"verify": False, "limits": {"latency_ms": 1, "latency_percentile": 99}}, "scenario-invalid", "/verify"),
    ({"verify": "no"}, "scenario-invalid", "/verify"),
    ({"verify": False, "refine": {"seconds": 5}}, "scenario-invalid", "/verify"),
    ({"refine": {"seconds": 0}}, "scenario-invalid", "/refine/seconds"),
    ({"refine": {"seconds": 301}}, "scenario-invalid", "/refine/seconds"),
    ({"refine": {"seconds": True}}, "scenario-invalid", "/refine/seconds"),
    ({"refine": {}}, "scenario-invalid", "/refine/seconds"),
    ({"refine": {"seconds": 5, "epochs": 2}}, "scenario-invalid", "/refine/epochs"),
    ({"refine": 5}, "scenario-invalid", "/refine"),
    ({"limits": [1]}, "no-limits", "/limits"),
    ({"limits": {"size_mb": 1, "latency_percentile": 100}}, "scenario-invalid", "/limits/latency_percentile"),
    ({"limits": {"size_mb": 1, "latncy_ms": 1}}, "scenario-invalid", "/limits/latncy_ms"),
    ({"format": "tflite"}, "unsupported-format", "/format"),
    ({"format": None}, "scenario-invalid", "/format"),
    ({"precision": "int8"}, "unsupported-format", "/precision"),
    ({"task": None}, "scenario-invalid", "/task"),
    ({"task": {"classes": ["a"]}}, "scenario-invalid", "/task/kind"),
    ({"task": {"kind": "segmentation", "classes": ["a"]}}, "scenario-invalid", "/task/kind"),
    ({"task": {"kind": "classification"}}, "scenario-invalid", "/task/classes"),
    ({"task": {"kind": "classification", "classes": []}}, "scenario-invalid", "/task/classes"),
    ({"task": {"kind": "classification", "classes": "coat"}}, "scenario-invalid", "/task/classes"),
    ({"task": {"kind": "classification", "classes": ["a", 1]}}, "scenario-invalid", "/task/classes/1"),
    ({"task": {"kind": "classification", "classes": ["a", ""]}}, "scenario-invalid", "/task/classes/1"),
    ({"task": {"kind": "classification", "classes": ["a", "b", "a"]}}, "scenario-invalid", "/task/classes/2"),
    ({"task": {"kind": "classification", "classes": ["x" * 10**6]}}, "scenario-invalid", "/task/classes/0"),
    ({"task": {"kind": "classification", "classes": ["a\x00"]}}, "scenario-invalid", "/task/classes/0"),
    ({"task": {"kind": "classification", "classes": ["\ud83d"]}}, "scenario-invalid", "/task/classes/0"),
    ({"task": {"kind": "classification", "classes": ["a"], "other": 1}}, "scenario-invalid", "/task/other"),
    ({"device": ""}, "scenario-invalid", "/device"),
    ({"device": 5}, "scenario-invalid", "/device"),
    ({"supernet": 5}, "scenario-invalid", "/supernet"),
    ({"on_infeasible": "maybe"}, "scenario-invalid", "/on_infeasible"),
    ({"deadline_s": 0}, "scenario-invalid", "/deadline_s"),
    ({"deadline_s": 1e9}, "scenario-invalid", "/deadline_s"),
    ({"name": "x" * 201}, "scenario-invalid", "/name"),
    ({"name": "line\nbreak"}, "scenario-invalid", "/name"),
    ({"labels": {"site": 5}}, "scenario-invalid", "/labels/site"),
    ({"labels": {"k" * 65: "v"}}, "scenario-invalid", "/labels"),
    ({"labels": {str(i): "v" for i in range(33)}}, "scenario-invalid", "/labels"),
    ({"nmae": "dock 3"}, "scenario-invalid", "/nmae"),
]


@pytest.mark.parametrize(("changes", "code", "where"), BAD_FIELDS)
def test_a_bad_field_is_named_by_its_pointer(changes: dict[str, Any], code: str, where: str) -> None:
    error = invalid(body(**changes))
    assert error.code == code
    assert [(problem.code, problem.pointer) for problem in error.problems] == [(code, where)]
    assert error.problems[0].detail


def test_several_bad_fields_are_all_named() -> None:
    error = invalid(body(device=1, name=2, limits={}))
    assert error.code == "scenario-invalid"
    assert {problem.pointer for problem in error.problems} == {"/device", "/name", "/limits"}


def test_never_more_than_twenty_problems_are_listed() -> None:
    assert len(invalid(body(**{f"field{i}": 1 for i in range(500)})).problems) == 20


def test_nothing_a_client_sent_is_repeated_but_plain_field_names() -> None:
    secret = "zq-7h0-s3cret <b>"
    task = {"kind": secret, "classes": [secret, secret]}
    error = invalid(body(task=task, device=[secret], labels={secret: 5}, **{secret: secret}))
    assert secret not in repr((error.detail, error.problems))


def test_an_unknown_field_comes_with_the_known_one_that_is_closest() -> None:
    assert "latency_ms" in invalid(body(limits={"latncy_ms": 1, "size_mb": 1})).detail
    assert "on_infeasible" in invalid(body(on_infeasable="fail")).detail


def test_a_misspelt_field_is_told_before_the_one_that_is_missing_for_it() -> None:
    error = invalid(body(task={"kind": "classification", "clases": ["bag"]}))
    assert [problem.pointer for problem in error.problems] == ["/task/clases", "/task/classes"]
    assert 'did you mean "classes"' in error.detail


@pytest.mark.parametrize("raw", [b"[]", b"5", b'"text"', b"null", b"true"])
def test_a_document_that_is_no_object_is_an_invalid_scenario(raw: bytes) -> None:
    assert invalid(raw).code == "scenario-invalid"


def test_a_number_that_is_not_a_number_is_malformed() -> None:
    with pytest.raises(MalformedJson):
        parse_scenario(body(limits={"latency_ms": float("nan")}))


def test_the_supernet_that_knows_all_the_classes_is_found() -> None:
    assert resolve(asking_for("boot", "sneaker"), [SHOES, CLOTHES]) is SHOES
    assert resolve(asking_for("bag", "coat"), [SHOES, CLOTHES]) is CLOTHES
    assert resolve(asking_for("sneaker", supernet="clothes"), [SHOES, CLOTHES]) is CLOTHES


def refused(scenario: Scenario, *cards: Card) -> ScenarioInvalid:
    with pytest.raises(ScenarioInvalid) as caught:
        resolve(scenario, cards)
    return caught.value


def test_an_unknown_class_comes_with_the_known_one_that_is_closest() -> None:
    error = refused(asking_for("sneaker", "Boots"), SHOES)
    assert (error.code, error.problems[0].pointer) == ("unknown-class", "/task/classes/1")
    assert '"boot"' in error.detail
    assert "Boots" not in error.detail


def test_other_needs_a_class_that_is_not_asked_for() -> None:
    task = {"kind": "classification", "classes": ["sandal", "boot", "sneaker"], "other": True}
    error = refused(parse_scenario(body(task=task)), SHOES)
    assert (error.code, error.problems[0].pointer) == ("scenario-invalid", "/task/other")
    task["classes"] = ["sandal", "boot"]
    assert resolve(parse_scenario(body(task=task)), [SHOES]) is SHOES
    task["classes"] = ["closed", "sandal"]
    error = refused(parse_scenario(body(task=task)), GROUPED)
    assert (error.code, error.problems[0].pointer) == ("scenario-invalid", "/task/other")


def test_groups_are_asked_for_as_classes_are() -> None:
    assert resolve(asking_for("closed", "sandal"), [CLOTHES, GROUPED]) is GROUPED
    error = refused(asking_for("closd", "sandal"), GROUPED)
    assert (error.code, error.problems[0].pointer) == ("unknown-class", "/task/classes/0")
    assert '"closed"' in error.detail


@pytest.mark.parametrize("classes", [("boot", "closed"), ("closed", "boot"), ("closed", "any")])
def test_a_class_does_not_stand_in_two_outputs(classes: tuple[str, ...]) -> None:
    error = refused(asking_for(*classes), GROUPED)
    assert (error.code, error.problems[0].pointer) == ("scenario-invalid", "/task/classes/1")


def test_classes_that_no_single_supernet_knows_together_are_unknown() -> None:
    error = refused(asking_for("boot", "bag"), SHOES, CLOTHES)
    assert error.code == "unknown-class"
    assert "together" in error.detail


def test_classes_that_several_supernets_know_are_ambiguous_and_the_choices_are_listed() -> None:
    error = refused(asking_for("sneaker"), SHOES, CLOTHES)
    assert (error.code, error.problems[0].pointer) == ("ambiguous-supernet", "/supernet")
    assert "clothes, shoes" in error.detail


def test_a_supernet_of_unknown_name_is_refused_with_a_hint() -> None:
    error = refused(asking_for("sneaker", supernet="shoe"), SHOES)
    assert (error.code, error.problems[0].pointer) == ("scenario-invalid", "/supernet")
    assert '"shoes"' in error.detail


def test_a_kind_for_which_nothing_is_installed_is_refused_in_a_clear_sentence() -> None:
    detection = parse_scenario(body(task={"kind": "detection", "classes": ["sneaker"]}))
    error = refused(detection, SHOES)
    assert error.problems[0].pointer == "/task/kind"
    assert "no supernet for detection is installed" in error.detail


def digest(raw: bytes, card: str = "c", profile: str = "p", tool: str = "t") -> str:
    return scenario_digest(parse_scenario(raw), card, profile, {"onnx": tool})


def test_the_digest_does_not_depend_on_name_labels_deadline_or_how_numbers_are_written() -> None:
    same = body(name=None, labels={}, deadline_s=5, limits={**BODY["limits"], "size_mb": 1})
    assert digest(body()) == digest(same)
    assert digest(body()).startswith("sha256:")
    named = {**BODY, "supernet": "clothes"}
    assert digest(json.dumps(named).encode()) == digest(body())


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"size_mb": 1}},
        {"task": {"kind": "classification", "classes": ["bag", "sneaker", "coat"]}},
        {"on_infeasible": "nearest"},
        {"device": "other"},
    ],
)
def test_the_digest_changes_with_everything_that_changes_the_model(changes: dict[str, Any]) -> None:
    assert digest(body(**changes)) != digest(body())


def test_the_digest_changes_with_supernet_profile_and_toolchain() -> None:
    others = [digest(body(), card="x"), digest(body(), profile="x"), digest(body(), tool="x")]
    assert len({digest(body()), *others}) == 4


def test_scenarios_are_read_without_torch() -> None:
    probe = "import sys, assembler.scenario; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", probe], cwd=root, env=dict(os.environ)).returncode == 0


def hostile(**changes: Any) -> bytes:
    return json.dumps({**BODY, **changes}, separators=(",", ":")).encode()


UNKNOWN = {f"f{number:05d}": 1 for number in range(60_000)}
MANY_BAD = {
    "numbers for classes": hostile(task={"kind": "classification", "classes": [1] * 340_000}),
    "objects for classes": hostile(task={"kind": "classification", "classes": [{}] * 250_000}),
    "unknown fields": json.dumps({**UNKNOWN, **BODY}).encode(),
    "unknown limits": hostile(limits={**UNKNOWN, "size_mb": 1}),
    "numbers for labels": hostile(labels=UNKNOWN),
    "unsafe names": hostile(name=["\x01"] * 100_000),
}


@pytest.mark.parametrize("name", MANY_BAD)
def test_a_body_full_of_faults_costs_little_and_names_the_first_twenty(name: str) -> None:
    # What the tests before left in memory is not to be looked through meanwhile.
    gc.disable()
    try:
        began = time.process_time()
        with pytest.raises(ScenarioInvalid) as caught:
            parse_scenario(MANY_BAD[name])
        took_s = time.process_time() - began
    finally:
        gc.enable()
    # About 0.1 s; ten times as much when each fault is told in words.
    assert took_s < 0.9
    assert len(caught.value.problems) == 20
    pointers = [problem.pointer for problem in caught.value.problems]
    assert pointers == sorted(pointers, key=lambda pointer: (len(pointer), pointer))
    assert len(set(pointers)) == 20


def test_fields_that_stand_behind_many_unknown_ones_are_still_seen() -> None:
    with pytest.raises(ScenarioInvalid) as caught:
        parse_scenario(json.dumps({**UNKNOWN, **BODY, "device": 5}).encode())
    *unknown, last = caught.value.problems
    assert {problem.detail for problem in unknown} == {"this field is unknown"}
    assert (last.pointer, last.detail) == ("/device", "must be a string")


@pytest.mark.parametrize("count", [1000, 1001, 5000])
def test_as_many_classes_as_are_allowed_are_read_whole(count: int) -> None:
    raw = hostile(task={"kind": "classification", "classes": [f"class {n}" for n in range(count)]})
    if count == 1000:
        assert len(parse_scenario(raw).task.classes) == count
        return
    with pytest.raises(ScenarioInvalid, match="/task/classes: must hold 1 to 1000 names"):
        parse_scenario(raw)


def test_a_survey_is_a_scenario_whose_limits_may_be_left_out() -> None:
    wanted = {name: value for name, value in BODY.items() if name != "limits"}
    for limits in ({}, {"limits": {}}):
        found = parse_survey(json.dumps({**wanted, **limits}).encode())
        assert found.limits.requested == {}
    found = parse_survey(json.dumps(BODY).encode())
    assert found.limits.requested == parse_scenario(json.dumps(BODY).encode()).limits.requested


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"limits": None}, "/limits"),
        ({"limits": {"latency": 1}}, "/limits/latency"),
        ({"limits": {"latency_ms": "1"}}, "/limits/latency_ms"),
        ({"bounds": {}}, "/bounds"),
        ({"task": {"kind": "classification"}}, "/task/classes"),
    ],
)
def test_a_survey_is_read_as_strictly_as_a_scenario(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ScenarioInvalid) as caught:
        parse_survey(json.dumps({**BODY, **changes}).encode())
    assert (caught.value.code, caught.value.problems[0].pointer) == ("scenario-invalid", where)
