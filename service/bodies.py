"""Small bodies that clients send: read strictly, and every fault named by its field."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from assembler.errors import FieldProblem
from assembler.scenario import misspelt_first, unknown_field
from assembler.strict import parse_json, pointer, unsafe_strings
from service.errors import Refused

T = TypeVar("T", bound=BaseModel)
LIMIT_BYTES = 16 * 1024


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a body for the interface's own one."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def parse_body(kind: type[T], raw: bytes, code: str) -> T:
    """Return the value of a body.

    Args:
        kind: whose fields are described by what they must be ("must be ...").
        raw: JSON.
        code: of the problem where it is none.

    Raises:
        MalformedJson: it is not strict JSON.
        Refused: a field breaks its rules; each such field is named.
    """
    document = parse_json(raw)
    faults = tuple(FieldProblem(one.pointer, code, one.detail) for one in unsafe_strings(document))
    try:
        if not faults:
            return kind.model_validate_json(json.dumps(document))
    except ValidationError as error:
        details = misspelt_first(error.errors(include_url=False, include_input=False, include_context=False))
        faults = tuple({(one := _fault(kind, code, each)).pointer: one for each in details}.values())
    first = faults[0]
    raise Refused(code, f"{first.pointer or 'the body'}: {first.detail}", faults)


def _fault(kind: type[BaseModel], code: str, error: ErrorDetails) -> FieldProblem:
    if not error["loc"]:
        whole = error["type"] in ("model_type", "model_attributes_type")
        return FieldProblem("", code, "must be an object" if whole else error["msg"])
    if error["type"] == "extra_forbidden":
        return FieldProblem(pointer(*error["loc"]), code, unknown_field(error["loc"][-1], kind.model_fields))
    name = str(error["loc"][0])
    return FieldProblem(f"/{name}", code, f"must be {kind.model_fields[name].description}")
