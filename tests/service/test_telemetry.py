"""Requests are timed by the route they came to, never by what a client wrote."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from service.app import create_app
from service.house import House
from service.metrics import Metrics
from service.telemetry import GONE, NO_ROUTE, Telemetry, route_of
from tests.service.making import ask, body, new_key, with_auth


def seen(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    """Return how many requests were timed, by method, route and status."""
    (family,) = [one for one in metrics.registry.collect() if one.name == "nnfactory_http_request_seconds"]
    return {
        (one.labels["method"], one.labels["route"], one.labels["status"]): one.value
        for one in family.samples
        if one.name.endswith("_count")
    }


def test_requests_are_told_apart_by_route_method_and_status(app: FastAPI, house: House) -> None:
    nothing = f"job_{'0' * 32}"
    asked = [
        ("GET", "/jobs"),
        ("GET", "/jobs"),
        ("GET", f"/jobs/{nothing}"),
        ("DELETE", "/jobs"),
        ("BREW", "/x"),
    ]
    asked += [("GET", "/openapi.json"), ("GET", "/jobs/other"), ("POST", "/models"), ("HEAD", "/healthz")]
    for method, path in asked:
        ask(app, method, path, json=body() if method == "POST" else None)
    assert seen(house.metrics) == {
        ("GET", "/jobs", "200"): 2,
        ("GET", "/jobs/{job_id}", "404"): 1,
        ("DELETE", "/jobs", "405"): 1,
        ("other", NO_ROUTE, "404"): 1,
        ("GET", "/openapi.json", "200"): 1,
        ("GET", NO_ROUTE, "404"): 1,
        ("POST", "/models", "202"): 1,
        ("HEAD", "/healthz", "200"): 1,
    }


def test_a_client_that_goes_before_the_answer_is_counted_as_gone() -> None:
    metrics = Metrics()

    async def leave(scope: Scope, receive: Receive, send: Send) -> None:
        return

    ask_once(Telemetry(leave, metrics, access_log=False))
    assert seen(metrics) == {("GET", NO_ROUTE, str(GONE)): 1}


def ask_once(app: Telemetry) -> None:
    import asyncio

    scope = {"type": "http", "method": "GET", "path": "/jobs", "headers": []}
    asyncio.run(app(scope, None, None))  # type: ignore[arg-type]


@given(path=st.text(st.characters(codec="ascii")))
def test_no_address_that_a_client_makes_up_becomes_a_label(path: str) -> None:
    assert route_of({"type": "http", "path": path}) == NO_ROUTE


@pytest.fixture
def quiet() -> Iterator[None]:
    """The logger of requests is left as it was."""
    yield
    logging.getLogger("service.access").setLevel(logging.NOTSET)


def test_the_access_log_names_route_tenant_and_key(
    house: House, quiet: None, caplog: pytest.LogCaptureFixture
) -> None:
    locked = with_auth(house, access_log=True)
    key_id, header = new_key(house)
    app = create_app(locked)
    response = ask(app, "GET", f"/jobs/job_{'0' * 32}?wait=1", headers=header)
    ask(app, "GET", "/made-up/address")
    told, refused = [one for one in caplog.records if one.name == "service.access"]
    found = {
        name: getattr(told, name) for name in ("method", "route", "status", "request_id", "tenant", "key_id")
    }
    assert found == {
        "method": "GET",
        "route": "/jobs/{job_id}",
        "status": 404,
        "request_id": response.headers["x-request-id"],
        "tenant": "acme",
        "key_id": key_id,
    }
    assert told.duration_ms > 0
    assert told.getMessage().startswith("GET /jobs/{job_id} 404 duration_ms=")
    assert (refused.route, refused.status) == (NO_ROUTE, 401)
    assert "made-up" not in refused.getMessage()
    assert not hasattr(refused, "tenant")


def test_without_the_setting_no_request_is_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(replace(house, metrics=Metrics()))
    assert ask(app, "GET", "/jobs").status_code == httpx.codes.OK
    assert not [one for one in caplog.records if one.name == "service.access"]
