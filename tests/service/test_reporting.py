from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, ask

pytestmark = ON_BOTH_DATABASES

FIGURES = {
    "latency_ms": 1.5,
    "latency_percentile": 50,
    "memory_mb": 8,
    "accuracy": 0.9,
    "samples": 100,
    "device": "Raspberry Pi 4",
    "runtime": "onnxruntime 1.20",
    "measured_at": "2026-01-31T12:00:00Z",
    "note": "in the sun",
}


@pytest.fixture
def job(app: FastAPI, worker_with: Callable[[], Worker]) -> dict[str, Any]:
    posted = ask(app, "POST", "/models", json=BODY)
    worker_with().work_once()
    found: dict[str, Any] = ask(app, "GET", posted.headers["location"]).json()
    return found


@pytest.fixture
def place(job: dict[str, Any]) -> str:
    return f"/artifacts/{job['result']['artifacts'][0]['id']}/reports"


def test_a_report_is_kept_listed_and_summed_up(app: FastAPI, job: dict[str, Any], place: str) -> None:
    model = job["links"]["model"]
    assert ask(app, "GET", model).json()["reports"] == {"count": 0, "latency_ms": None}
    first = ask(app, "POST", place, json=FIGURES)
    second = ask(app, "POST", place, json={"latency_ms": 2.5})
    assert (first.status_code, second.status_code) == (201, 201)
    told = first.json()
    assert {name: told[name] for name in FIGURES} == FIGURES
    assert first.headers["location"] == f"{place}/{told['id']}"
    assert ask(app, "GET", first.headers["location"]).json() == told
    page = ask(app, "GET", f"{place}?page_size=1").json()
    assert page["reports"] == [second.json()]
    rest = ask(app, "GET", f"{place}?page_size=1&page_token={page['next_page_token']}").json()
    assert rest == {"reports": [told], "next_page_token": None}
    assert ask(app, "GET", model).json()["reports"] == {"count": 2, "latency_ms": 2.0}
    assert ask(app, "GET", "/models").json()["models"] == [ask(app, "GET", model).json()]


@pytest.mark.parametrize(
    ("figures", "pointer"),
    [
        ({}, ""),
        ({"latency_ms": -1}, "/latency_ms"),
        ({"latency_ms": "1"}, "/latency_ms"),
        ({"accuracy": 2}, "/accuracy"),
        ({"accuracy": 0.5, "measured_at": "now"}, "/measured_at"),
        ({"accuracy": 0.5, "secret": 1}, "/secret"),
    ],
)
def test_a_report_that_is_none_is_refused_by_its_field(
    app: FastAPI, place: str, figures: dict[str, Any], pointer: str
) -> None:
    response = ask(app, "POST", place, json=figures)
    assert (response.status_code, response.json()["code"]) == (422, "report-invalid")
    assert [one["pointer"] for one in response.json()["errors"]] == [pointer]


def test_reports_are_on_artifacts_that_are_there(app: FastAPI, job: dict[str, Any], place: str) -> None:
    absent = f"art_{'0' * 32}"
    for method in ("GET", "POST"):
        assert ask(app, method, place.replace(place[11:47], absent), json=FIGURES).status_code == 404
    assert ask(app, "GET", f"{place}/rpt_{'0' * 32}").status_code == 404
    ask(app, "DELETE", job["links"]["model"])
    for method, more in (("GET", ""), ("POST", ""), ("GET", f"/rpt_{'0' * 32}")):
        response = ask(app, method, place + more, json=FIGURES)
        assert (response.status_code, response.json()["code"]) == (410, "artifact-expired")
