"""What requests may carry, as the interface describes it; routes read it strictly by themselves (``service.http``)."""

from typing import Any

from assembler.scenario import MAX_LABELS
from service.state import State

TEXT = {"type": "string"}
EXAMPLE: dict[str, Any] = {
    "task": {"kind": "classification", "classes": ["Sneaker", "Bag", "Coat"]},
    "limits": {"latency_ms": 1.5, "size_mb": 0.5, "accuracy_min": 0.8},
}
SCENARIO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Scenario"},
                "examples": {"a sorter": {"value": EXAMPLE}},
            }
        },
    }
}


def query_parameter(name: str, meaning: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a parameter of the query."""
    return {"name": name, "in": "query", "required": False, "description": meaning, "schema": schema}


def header_parameter(name: str, meaning: str, schema: dict[str, Any] = TEXT) -> dict[str, Any]:
    """Return the description of a header."""
    return {"name": name, "in": "header", "required": False, "description": meaning, "schema": schema}


WAIT = query_parameter(
    "wait", "seconds to wait for the end; more than 30 count as 30", {"type": "number", "minimum": 0}
)
PAGE = [
    query_parameter("page_size", "at most so many", {"type": "integer", "minimum": 1, "maximum": 200}),
    query_parameter(
        "page_token",
        "next_page_token of the page before",
        {"type": "string", "pattern": "^[A-Za-z0-9_=-]{1,200}$"},
    ),
]
IDEMPOTENCY_KEY = header_parameter(
    "Idempotency-Key",
    "the same key and body are answered as they were the first time, for 48 h",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
)
SUBMIT_HEADERS = [
    header_parameter("Prefer", "wait=N: answer when the job has ended, at most N s later"),
    IDEMPOTENCY_KEY,
]
FILTERS = [
    query_parameter("state", "only jobs in this state", {"type": "string", "enum": list(State)}),
    query_parameter("device", "only jobs for this device", {"type": "string"}),
    query_parameter(
        "label",
        "only jobs with this label: key:value, or key alone for any value; several must all be there",
        {"type": "array", "items": {"type": "string"}, "maxItems": MAX_LABELS},
    ),
    query_parameter("batch", "only jobs of this batch", {"type": "string"}),
    query_parameter(
        "created_after", "only jobs created later than this", {"type": "string", "format": "date-time"}
    ),
]
