"""What the interface says of parameters is what routes hold requests to."""

from typing import Any

import pytest
from fastapi import FastAPI

from service.parameters import FILTERS, PAGE, WAIT, header_parameter, query_parameter
from tests.service.making import ask


def test_a_parameter_says_where_it_stands_and_that_it_may_be_left_out() -> None:
    schema = {"type": "integer"}
    found = [query_parameter("a", "so many", schema), header_parameter("B", "a text")]
    assert [(one["name"], one["in"], one["required"]) for one in found] == [
        ("a", "query", False),
        ("B", "header", False),
    ]
    assert [one["schema"] for one in found] == [schema, {"type": "string"}]


@pytest.mark.parametrize("parameter", [*FILTERS, *PAGE], ids=lambda one: one["name"])
def test_what_is_described_is_known_to_the_route(app: FastAPI, parameter: dict[str, Any]) -> None:
    refused = ask(app, "GET", f"/jobs?{parameter['name']}=%00").json()
    assert refused["code"] in ("bad-query", "bad-page-token")
    assert "unknown" not in refused["detail"]


def test_the_longest_wait_is_described(app: FastAPI) -> None:
    assert "30" in WAIT["description"]
    assert ask(app, "GET", "/jobs?wait=5").json()["code"] == "bad-query"
