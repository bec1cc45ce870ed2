import json
from typing import Any

import pytest
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from assembler.errors import MalformedJson
from assembler.scenario import Strict
from service.bodies import described, parse_body
from service.errors import Refused


class Parcel(Strict):
    """A body."""

    to: str = Field(min_length=1, description="a text")
    grams: float | None = Field(default=None, gt=0, description="a positive number")

    @model_validator(mode="after")
    def _fits(self) -> "Parcel":
        if self.to == "nobody":
            raise PydanticCustomError("nobody", "somebody must get it")
        return self


def refused(document: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_body(Parcel, json.dumps(document).encode(), "report-invalid")
    assert caught.value.code == "report-invalid"
    assert {one.code for one in caught.value.problems} == {"report-invalid"}
    return caught.value


def test_a_body_is_read() -> None:
    assert parse_body(Parcel, b'{"to": "x", "grams": 2}', "report-invalid") == Parcel(to="x", grams=2.0)


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        ([], "", "must be an object"),
        ({"to": "nobody"}, "", "somebody must get it"),
        ({}, "/to", "must be a text"),
        ({"to": 1}, "/to", "must be a text"),
        ({"to": "a\u0000b"}, "/to", "holds a control character or half of a surrogate pair"),
        ({"to": "x", "grams": True}, "/grams", "must be a positive number"),
        ({"to": "x", "grams": "1"}, "/grams", "must be a positive number"),
        ({"to": "x", "grams": 10**400}, "/grams", "must be a positive number"),
        ({"to": "x", "more": 1}, "/more", "this field is unknown; known: to, grams"),
        ({"to": "x", "<b>": 1}, "", "this field is unknown; known: to, grams"),
        ({"to": "x", "Gram": 1}, "/Gram", 'this field is unknown; did you mean "grams"?'),
    ],
)
def test_a_fault_is_named_by_its_field(document: Any, pointer: str, detail: str) -> None:
    (fault,) = refused(document).problems
    assert (fault.pointer, fault.detail) == (pointer, detail)


def test_all_faults_are_named_each_once() -> None:
    error = refused({"to": 1, "grams": -1})
    assert [one.pointer for one in error.problems] == ["/to", "/grams"]
    assert error.detail == "/to: must be a text"


def test_a_field_that_is_misspelt_comes_before_the_one_that_is_missing_for_that() -> None:
    error = refused({"too": "x" * 1000})
    assert [one.pointer for one in error.problems] == ["/too", "/to"]
    assert error.detail == '/too: this field is unknown; did you mean "to"?'


def test_a_name_of_any_length_is_refused() -> None:
    assert "this field is unknown" in refused({"to": "x", "g" * 10_000: 1}).detail


def test_what_is_no_json_is_said_so() -> None:
    with pytest.raises(MalformedJson):
        parse_body(Parcel, b'{"to": NaN}', "report-invalid")


def test_a_body_is_described_with_its_fields() -> None:
    schema = described(Parcel)["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["to"]
    assert schema["additionalProperties"] is False
