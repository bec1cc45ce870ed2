"""What a client sees of a front: JSON or a plot, strict about what it asks, and what it may post next."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from assembler.device import save_profile
from assembler.scenario import parse_survey
from service.app import create_app
from service.catalog import Catalog
from service.house import House
from service.zoo import find_members, shipped_zoo
from tests.service.making import ask, make_profile

TASK = {"kind": "classification", "classes": ["Bag", "Coat", "Sneaker"]}
JSON, SVG = "application/json", "image/svg+xml"


@pytest.fixture
def served(house: House, tmp_path: Path) -> House:
    """A house with a shipped supernet, and a device that is measured."""
    (member,) = find_members([shipped_zoo() / "fashion"])
    save_profile(make_profile(member.card), house.settings.data_dir)
    return replace(house, catalog=Catalog(house.settings.data_dir, [member]))


@pytest.fixture
def surveyed(served: House) -> FastAPI:
    return create_app(served)


def front_of(app: FastAPI, accept: str | None = None, **changes: Any) -> Any:
    headers = {"accept": accept} if accept else {}
    return ask(app, "POST", "/models/pareto", json={"task": TASK, **changes}, headers=headers)


def test_every_point_of_a_front_can_be_posted_as_it_is(surveyed: FastAPI) -> None:
    response = front_of(surveyed)
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON
    assert response.headers["vary"] == "Accept"
    found = response.json()
    assert (found["device"], found["supernet"]) == ("local", "fashion")
    assert found["task"] == {**TASK, "other": False}
    assert len(found["points"]) > 5
    for point in found["points"]:
        checked = ask(
            surveyed, "POST", "/models/check", json={"task": TASK, "limits": point["limits"]}
        ).json()
        assert checked["feasible"]
        assert checked["predicted"]["accuracy"] >= point["predicted"]["accuracy"]


def test_limits_are_bounds_on_the_points(surveyed: FastAPI) -> None:
    whole = front_of(surveyed).json()["points"]
    bound = whole[3]["predicted"]["latency_ms"]
    assert front_of(surveyed, limits={"latency_ms": bound}).json()["points"] == whole[:4]
    small = front_of(surveyed, limits={"size_mb": 0.2}).json()["points"]
    assert all(point["predicted"]["size_mb"] <= 0.2 == point["limits"]["size_mb"] for point in small)
    assert front_of(surveyed, limits={"latency_ms": 1e-6}).json()["points"] == []


def test_a_plot_comes_where_the_client_prefers_it(surveyed: FastAPI) -> None:
    response = front_of(surveyed, SVG)
    assert response.status_code == 200
    assert response.headers["content-type"] == SVG
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "Bag, Coat, Sneaker on local" in response.text
    assert front_of(surveyed, f"{JSON}, {SVG};q=0.5").headers["content-type"] == JSON


def test_what_is_neither_json_nor_a_plot_cannot_be_had(surveyed: FastAPI) -> None:
    response = front_of(surveyed, "image/png")
    assert (response.status_code, response.json()["code"]) == (406, "not-acceptable")
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"bounds": {}}, "scenario-invalid", "/bounds"),
        ({"limits": {"latency_ms": -1}}, "scenario-invalid", "/limits/latency_ms"),
        ({"limits": {"watts": 1}}, "scenario-invalid", "/limits/watts"),
        ({"device": "moon"}, "unknown-device", "/device"),
        ({"supernet": "moon"}, "scenario-invalid", "/supernet"),
        ({"task": {**TASK, "classes": ["Bag", "Moon"]}}, "unknown-class", "/task/classes/1"),
    ],
)
@pytest.mark.parametrize("accept", [JSON, SVG])
def test_a_bad_field_is_named(
    surveyed: FastAPI, changes: dict[str, Any], code: str, where: str, accept: str
) -> None:
    response = front_of(surveyed, accept, **changes)
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert [error["pointer"] for error in response.json()["errors"]] == [where]


def test_bodies_that_are_not_strict_json_are_refused(surveyed: FastAPI) -> None:
    for content, status in ((b"{", 400), (b'{"task": 1, "task": 2}', 400), (b" " * 2_000_000, 413)):
        response = ask(surveyed, "POST", "/models/pareto", content=content, headers={"content-type": JSON})
        assert response.status_code == status


def test_a_device_that_is_not_measured_yet_is_asked_again_later(app: FastAPI) -> None:
    body = {"task": {"kind": "classification", "classes": ["bag", "coat"]}}
    response = ask(app, "POST", "/models/pareto", json=body)
    assert (response.status_code, response.json()["code"]) == (503, "not-ready")
    assert "retry-after" in response.headers


def test_a_front_is_made_once_for_all_that_ask_for_it(served: House) -> None:
    def dense(**changes: Any) -> object:
        body = {"task": TASK, **changes}
        return served.catalog.front(parse_survey(json.dumps(body).encode())).dense

    first = dense()
    for same in ({"name": "a"}, {"limits": {"latency_ms": 0.2}}, {"limits": {"accuracy_min": 0.9}}):
        assert dense(**same) is first
    for other in ({"limits": {"memory_mb": 1}}, {"task": {**TASK, "other": True}}):
        assert dense(**other) is not first


def test_the_interface_is_described(app: FastAPI) -> None:
    described = ask(app, "GET", "/openapi.json").json()
    told = described["paths"]["/models/pareto"]["post"]
    assert set(told["responses"]["200"]["content"]) == {JSON, SVG}
    assert set(told["responses"]["406"]["content"]) == {"application/problem+json"}
    assert told["requestBody"]["content"][JSON]["schema"]["$ref"].endswith("/Survey")
    assert "Front" in json.dumps(told["responses"]["200"]["content"][JSON])
