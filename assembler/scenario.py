"""Scenario: the whole request for one model, parsed once and strictly."""

import difflib
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from assembler.canonical import canonical
from assembler.errors import FieldProblem, ScenarioInvalid
from assembler.strict import parse_json, pointer, unsafe_strings
from supernet.card import Card
from supernet.task import Task

MAX_CLASSES = 1000
MAX_NAME = 200
MAX_LABELS = 32
MAX_LABEL = 64
MAX_VALUE = 256
MAX_DEADLINE_S = 7 * 24 * 3600.0
MAX_REFINE_S = 300.0
MAX_PROBLEMS = 20
MAX_ITEMS = MAX_CLASSES + 1
LARGEST = 1e9
MEDIAN = 50
# So many known names are listed where none is close to what was asked for.
FEW = 5
FORMATS = ("onnx",)
PRECISIONS = ("fp32",)
# What says nothing about the model itself: scenarios that differ only here share one build.
NOT_IN_DIGEST = {"name", "labels", "deadline_s"}
NO_OBJECT = "must be an object with at least one limit"
Asked = TypeVar("Asked", bound="Scenario")
_OWN_FINDINGS = ("class_count", "class_name", "class_twice", "labels")


class OnInfeasible(StrEnum):
    """What to do when no model meets the limits."""

    FAIL = "fail"
    NEAREST = "nearest"


class Strict(BaseModel):
    """Base of what clients send: immutable, no coercion, unknown keys and infinities refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Refine(Strict):
    """Training of the finished model for its task, before it is delivered."""

    seconds: float = Field(gt=0, le=MAX_REFINE_S, description="how long to train")


_LIMITS = ("latency_ms", "memory_mb", "size_mb", "accuracy_min")


class Limits(Strict):
    """What the model must keep to on its device; at least one limit is set."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": [name]} for name in _LIMITS]})

    latency_ms: float | None = Field(default=None, gt=0, le=LARGEST, description="of one image, batch size 1")
    latency_percentile: int = Field(default=MEDIAN, ge=1, le=99, description="of the measured runs")
    memory_mb: float | None = Field(
        default=None,
        gt=0,
        le=LARGEST,
        description="how far the resident memory of the process rises at its peak, from before the model is loaded",
    )
    size_mb: float | None = Field(default=None, gt=0, le=LARGEST, description="of the model file")
    accuracy_min: float | None = Field(
        default=None, gt=0, le=1, description="on validation images of the task"
    )

    @model_validator(mode="after")
    def _one_at_least(self) -> "Limits":
        if not self.requested:
            raise PydanticCustomError("no_limits", "at least one limit must be set")
        return self

    @property
    def requested(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: value for name in _LIMITS if (value := getattr(self, name)) is not None}


class Bounds(Limits):
    """What the points of a front keep to; none need be set."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("anyOf", None))

    @model_validator(mode="after")
    def _one_at_least(self) -> "Bounds":
        return self


def _check_task(task: Task) -> Task:
    if not 1 <= len(task.classes) <= MAX_CLASSES:
        raise PydanticCustomError("class_count", f"must hold 1 to {MAX_CLASSES} names")
    for index, name in enumerate(task.classes):
        if not 1 <= len(name) <= MAX_NAME:
            raise PydanticCustomError("class_name", f"must have 1 to {MAX_NAME} characters", {"index": index})
    if len(set(task.classes)) < len(task.classes):
        index = next(i for i, name in enumerate(task.classes) if name in task.classes[:i])
        raise PydanticCustomError("class_twice", "stands twice", {"index": index})
    return task


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    too_many = len(labels) > MAX_LABELS
    if too_many or any(len(key) > MAX_LABEL or len(value) > MAX_VALUE for key, value in labels.items()):
        lengths = f"with keys of up to {MAX_LABEL} and values of up to {MAX_VALUE} characters"
        detail = f"must be at most {MAX_LABELS}, {lengths}"
        raise PydanticCustomError("labels", detail)
    return labels


class Scenario(Strict):
    """Task, device, limits and format: all that is needed to make one model."""

    task: Annotated[Task, AfterValidator(_check_task)]
    device: str = Field(default="local", min_length=1, max_length=MAX_NAME)
    limits: Limits
    format: str = Field(default="onnx", json_schema_extra={"enum": [*FORMATS]})
    precision: str = Field(default="fp32", json_schema_extra={"enum": [*PRECISIONS]})
    supernet: str | None = Field(default=None, min_length=1, max_length=MAX_NAME)
    on_infeasible: OnInfeasible = OnInfeasible.FAIL
    verify: bool = Field(default=True, description="whether the file is compared, scored and measured")
    refine: Refine | None = Field(
        default=None,
        description="train the model further, and keep that where it is better on validation images",
    )
    deadline_s: float | None = Field(default=None, gt=0, le=MAX_DEADLINE_S)
    name: str | None = Field(default=None, max_length=MAX_NAME)
    labels: Annotated[dict[str, str], AfterValidator(_check_labels)] = Field(
        default={},
        json_schema_extra={
            "maxProperties": MAX_LABELS,
            "propertyNames": {"maxLength": MAX_LABEL},
            "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
        },
    )

    @model_validator(mode="after")
    def _median_is_foretold(self) -> "Scenario":
        if not self.verify and self.limits.latency_percentile != MEDIAN:
            detail = "only the median is foretold: a limit on another percentile needs verification"
            raise PydanticCustomError("unverified_percentile", detail)
        return self

    @model_validator(mode="after")
    def _refining_is_judged(self) -> "Scenario":
        if self.refine is not None and not self.verify:
            detail = "a refined model is only kept where it is better, which takes verification"
            raise PydanticCustomError("unverified_refine", detail)
        return self

    @model_validator(mode="after")
    def _format_is_made(self) -> "Scenario":
        for field, known in (("format", FORMATS), ("precision", PRECISIONS)):
            if getattr(self, field) not in known:
                detail = f"only {', '.join(known)} can be made"
                raise PydanticCustomError("unsupported_format", detail, {"field": field})
        return self


class Survey(Scenario):
    """A Scenario whose limits are bounds: not one model is asked for, but all that can be had within them."""

    limits: Bounds = Bounds()


FIELDS = frozenset({*Scenario.model_fields, *Task.model_fields, *Limits.model_fields, *Refine.model_fields})


def parse_scenario(raw: bytes) -> Scenario:
    """Return the Scenario that a request's body holds.

    Args:
        raw: the whole body.

    Raises:
        MalformedJson: not one strict JSON document (see parse_json).
        ScenarioInvalid: a field is missing, unknown, of the wrong type or out of range; every fault is named
            by its JSON pointer, up to 20 of them, and what the client sent is never repeated.
    """
    return scenario_of(parse_json(raw))


def parse_survey(raw: bytes) -> Survey:
    """Return the Survey that a request's body holds.

    Raises:
        MalformedJson, ScenarioInvalid: as ``parse_scenario`` says.
    """
    return _read(Survey, parse_json(raw))


def scenario_of(document: Any) -> Scenario:
    """Return the Scenario that a document holds, as ``parse_json`` returned it.

    Raises:
        ScenarioInvalid: as ``parse_scenario`` says.
    """
    return _read(Scenario, document)


def _read(kind: type[Asked], document: Any) -> Asked:
    problems = unsafe_strings(document)
    if problems:
        raise _invalid(problems)
    try:
        return kind.model_validate_json(json.dumps(_bounded(document)))
    except ValidationError as error:
        details = misspelt_first(error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS])
        limited = kind.model_fields["limits"].is_required()
        problems = tuple(_problem(detail, limited=limited) for detail in details)
        raise _invalid(problems) from None


def resolve(scenario: Scenario, cards: Sequence[Card]) -> Card:
    """Return the Card of the supernet that the scenario is cut out of.

    Raises:
        ScenarioInvalid: no supernet of that name or for that kind, or ``other`` with all of its classes
            (``scenario-invalid``) or with a class twice, alone and in a group, none that knows all the classes
            (``unknown-class``), or several that do (``ambiguous-supernet``).
    """
    candidates = _candidates(scenario, cards)
    classes = scenario.task.classes
    able = [card for card in candidates if set(classes) <= set(card.names)]
    if len(able) == 1:
        outputs = able[0].outputs(scenario.task)
        if len(set(outputs.rows)) < len(outputs.rows):
            twice = next(place for place, row in enumerate(outputs.rows) if row in outputs.rows[:place])
            detail = "a class of this group stands in the task already"
            where = pointer("task", "classes", outputs.of[twice])
            raise _invalid((FieldProblem(where, "scenario-invalid", detail),))
        if scenario.task.other and outputs.count == len(classes):
            detail = "no class is left for it to stand for: all of the supernet's classes are asked for"
            raise _invalid((FieldProblem("/task/other", "scenario-invalid", detail),))
        return able[0]
    if able:
        detail = f"several supernets know all these classes: {', '.join(sorted(card.name for card in able))}"
        raise _invalid((FieldProblem("/supernet", "ambiguous-supernet", detail),))
    closest = max(candidates, key=lambda card: len(set(classes) & set(card.names)))
    unknown = [(index, name) for index, name in enumerate(classes) if name not in closest.names]
    vocabulary = sorted({name for card in candidates for name in card.names})
    raise _invalid(
        tuple(
            FieldProblem(pointer("task", "classes", index), "unknown-class", _unknown_class(name, vocabulary))
            for index, name in unknown[:MAX_PROBLEMS]
        )
    )


def scenario_digest(
    scenario: Scenario, card_digest: str, profile_version: str, toolchain: Mapping[str, str]
) -> str:
    """Return the digest that scenarios share when they lead to the same model.

    Args:
        scenario: parsed; its name, labels and deadline do not count.
        card_digest: of the supernet that ``resolve`` found.
        profile_version: digest of the device profile.
        toolchain: versions of everything that decides what the file's bytes are.
    """
    facts: dict[str, Any] = {
        "scenario": scenario.model_dump(mode="json", exclude=NOT_IN_DIGEST | {"supernet"}),
        "supernet": card_digest,
        "profile": profile_version,
        "toolchain": dict(toolchain),
    }
    return f"sha256:{hashlib.sha256(canonical(facts)).hexdigest()}"


def misspelt_first(details: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """Return findings of pydantic in order, but a field that is misspelt before one that is missing for that."""
    return sorted(details, key=lambda detail: detail["type"] != "extra_forbidden")


def unknown_field(name: int | str, known: Iterable[str]) -> str:
    """Return the sentence on a field that is unknown, and which one may be meant."""
    return f"this field is unknown{did_you_mean(str(name)[:MAX_NAME], list(known))}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a hint at the known name that is closest, or at all if they are few; only known names are ever said."""
    by_fold = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1)
    if close:
        return f"; did you mean {json.dumps(by_fold[close[0]], ensure_ascii=False)}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= FEW else ""


def _candidates(scenario: Scenario, cards: Sequence[Card]) -> list[Card]:
    kind = scenario.task.kind
    candidates = [card for card in cards if card.kind == kind]
    if not candidates:
        kinds = ", ".join(sorted({card.kind.value for card in cards})) or "none"
        detail = f"no supernet for {kind.value} is installed; installed: {kinds}"
        raise _invalid((FieldProblem("/task/kind", "scenario-invalid", detail),))
    if scenario.supernet is None:
        return candidates
    named = [card for card in candidates if card.name == scenario.supernet]
    if not named:
        hint = did_you_mean(scenario.supernet, [card.name for card in candidates])
        detail = f"no supernet of this name for {kind.value} is installed{hint}"
        raise _invalid((FieldProblem("/supernet", "scenario-invalid", detail),))
    return named


def _unknown_class(name: str, vocabulary: Sequence[str]) -> str:
    if name in vocabulary:
        return "no single supernet knows this class together with the others"
    return f"no supernet knows this class{did_you_mean(name, vocabulary)}"


def _invalid(problems: tuple[FieldProblem, ...]) -> ScenarioInvalid:
    codes = {problem.code for problem in problems}
    code = codes.pop() if len(codes) == 1 else "scenario-invalid"
    first = problems[0]
    detail = f"{first.pointer or 'the scenario'}: {first.detail}"
    return ScenarioInvalid(code, detail, problems[:MAX_PROBLEMS])


def _bounded(value: Any) -> Any:
    """Return a document with at most so many items in each list and object that their faults are quickly found.

    What is left out stood where there were too many already; a field that scenarios know always stays.
    """
    if isinstance(value, list):
        return [_bounded(one) for one in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        kept = itertools.islice((name for name in value if name not in FIELDS), MAX_ITEMS)
        names = {*kept, *(name for name in FIELDS if name in value)}
        return {name: _bounded(one) for name, one in value.items() if name in names}
    return value


def _problem(error: ErrorDetails, *, limited: bool) -> FieldProblem:
    """Translate one finding of pydantic; its message is used only where it cannot hold input.

    Args:
        error: the finding.
        limited: whether a limit must be set.
    """
    at, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if (
        limited
        and at == ("limits",)
        and kind in ("missing", "no_limits", "model_type", "model_attributes_type")
    ):
        detail = "at least one limit must be set" if kind in ("missing", "no_limits") else NO_OBJECT
        return FieldProblem("/limits", "no-limits", detail)
    if kind == "unsupported_format":
        return FieldProblem(pointer(context["field"]), "unsupported-format", error["msg"])
    if kind in ("unverified_percentile", "unverified_refine"):
        return FieldProblem("/verify", "scenario-invalid", error["msg"])
    if kind == "extra_forbidden":
        return FieldProblem(pointer(*at), "scenario-invalid", unknown_field(at[-1], _fields_at(at[:-1])))
    if kind in ("class_count", "class_name", "class_twice"):
        at = (*at, "classes", *context.values())
    return FieldProblem(pointer(*at), "scenario-invalid", _sentence(error))


def _fields_at(at: tuple[int | str, ...]) -> list[str]:
    models: dict[int | str, type[BaseModel]] = {"task": Task, "limits": Limits, "refine": Refine}
    return list((models.get(at[0], Scenario) if at else Scenario).model_fields)


def _sentence(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    known = {
        "missing": "is required",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "int_type": "must be a whole number",
        "bool_type": "must be true or false",
        "string_type": "must be a string",
        "string_too_short": "must not be empty",
        "string_too_long": f"must not be longer than {context.get('max_length')} characters",
        "tuple_type": "must be a list",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "enum": f"must be {context.get('expected')}",
        "greater_than": f"must be greater than {context.get('gt')}",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
    }
    return known.get(error["type"], error["msg"] if error["type"] in _OWN_FINDINGS else "is not valid")
