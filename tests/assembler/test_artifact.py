"""An artifact is addressed by what it contains, and figures survive the way through JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from assembler.artifact import (
    Assembly,
    Basis,
    Change,
    Diagnosis,
    Estimate,
    LimitCheck,
    Measured,
    Predicted,
    address,
)

# Of "abc". Source: FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
PREDICTED = Predicted(latency_ms=0.5, memory_mb=1.0, size_mb=0.1, accuracy=0.9)

figures = st.floats(allow_nan=False, allow_infinity=False)
predictions = st.builds(
    Predicted, latency_ms=figures, memory_mb=figures, size_mb=figures, accuracy=st.floats(0, 1)
)
changes = st.builds(
    Change, change=st.dictionaries(st.just("/limits/latency_ms"), figures), predicted=predictions
)
values = st.one_of(
    st.builds(
        Diagnosis,
        feasible=st.booleans(),
        binding=st.lists(st.text()).map(tuple),
        best_possible=predictions,
        nearest=st.lists(changes, max_size=2).map(tuple),
    ),
    st.builds(Estimate, feasible=st.booleans(), accuracy_error=figures, predicted=st.none() | predictions),
    st.builds(
        LimitCheck,
        limit=st.text(),
        requested=figures,
        value=figures,
        basis=st.sampled_from(Basis),
        met=st.booleans(),
    ),
    st.binary().map(lambda content: address(content, format="onnx", precision="fp32")),
)


def test_an_artifact_is_addressed_by_the_sha256_of_its_content() -> None:
    found = address(b"abc", format="onnx", precision="fp32")
    assert (found.sha256, found.bytes) == (ABC, 3)
    assert (found.kind, found.format, found.precision) == ("model", "onnx", "fp32")


@given(st.binary(), st.binary())
def test_only_equal_contents_have_equal_addresses(one: bytes, other: bytes) -> None:
    first, second = (address(content, format="onnx", precision="fp32") for content in (one, other))
    assert (first == second) == (one == other)


@given(values)
def test_values_come_back_from_json(value: BaseModel) -> None:
    assert type(value).model_validate_json(value.model_dump_json()) == value


def test_unknown_keys_and_lost_ones_are_refused() -> None:
    known = PREDICTED.model_dump()
    with pytest.raises(ValidationError, match="Extra inputs"):
        Predicted.model_validate({**known, "latency_s": 1.0})
    with pytest.raises(ValidationError, match="Field required"):
        Predicted.model_validate({name: known[name] for name in ("latency_ms", "memory_mb", "size_mb")})


def test_figures_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PREDICTED.accuracy = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("met", "all_met"), [((), True), ((True, True), True), ((True, False), False), ((False,), False)]
)
@pytest.mark.parametrize("verified", [True, False])
def test_the_limits_are_met_when_each_of_them_is(
    met: tuple[bool, ...], all_met: bool, verified: bool
) -> None:
    checks = tuple(
        LimitCheck(limit="size_mb", requested=1.0, value=0.1, basis=Basis.ESTIMATE, met=one) for one in met
    )
    measured = Measured(
        latency_ms=0.5, latency_percentile=50, memory_mb=1.0, size_mb=0.1, accuracy=0.9, samples=9
    )
    assembly = Assembly(
        content=b"abc",
        artifact=address(b"abc", format="onnx", precision="fp32"),
        manifest={},
        predicted=PREDICTED,
        measured=measured if verified else None,
        limits_check=checks,
    )
    assert assembly.limits_met is all_met
