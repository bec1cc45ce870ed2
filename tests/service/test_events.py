"""A job's events over a real socket."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ON_BOTH_DATABASES
from tests.service.making import body, write_member
from tests.service.process import House, running

pytestmark = ON_BOTH_DATABASES


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("events")
    with running(folder / "data", write_member(folder / "zoo" / "clothes").parent) as house:
        house.wait_ready()
        yield house


def told(house: House, path: str, last: str | None = None) -> list[tuple[str, str, dict[str, Any], float]]:
    """Return kind, id, data and time of arrival of everything that a stream tells."""
    found = []
    headers = {} if last is None else {"Last-Event-ID": last}
    with house.client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                found.append((fields["event"], fields["id"], json.loads(fields["data"]), time.time()))
                fields = {}
    return found


def test_events_come_as_they_happen_and_the_stream_ends_with_the_job(house: House) -> None:
    job = house.client.post("/models", json=body(name="slow", limits={"latency_ms": 0.7})).json()
    events = told(house, job["links"]["events"])
    assert [kind for kind, *_ in events] == ["state", "state", "phase", "phase", "phase", "done"]
    assert [data.get("state") or data["phase"] for _, _, data, _ in events] == [
        "queued",
        "running",
        "assembling",
        "compiling",
        "storing",
        "succeeded",
    ]
    assert {data["job_id"] for _, _, data, _ in events} == {job["id"]}
    # The phase that takes a second is told of at its begin, not at the end.
    assert events[-1][3] - events[2][3] > 0.7


def test_a_stream_that_was_cut_goes_on_where_it_was(house: House) -> None:
    job = house.client.post("/models", json=body(), headers={"Prefer": "wait=20"}).json()
    events = told(house, job["links"]["events"])
    for place, (_, number, _, _) in enumerate(events):
        rest = told(house, job["links"]["events"], last=number)
        assert [each[:3] for each in rest] == [each[:3] for each in events[place + 1 :]]


def test_what_is_wrong_is_answered_before_a_stream_begins(house: House) -> None:
    job = house.client.post("/models", json=body()).json()
    unknown = house.client.get("/jobs/job_00000000000000000000000000/events")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
    bad = house.client.get(job["links"]["events"], headers={"Last-Event-ID": "x"})
    assert (bad.status_code, bad.json()["code"]) == (400, "bad-header")


def test_a_listener_that_leaves_disturbs_nobody(house: House) -> None:
    job = house.client.post("/models", json=body(name="slow", limits={"latency_ms": 0.8})).json()
    with house.client.stream("GET", job["links"]["events"]) as response:
        next(response.iter_lines())
    assert told(house, job["links"]["events"])[-1][0] == "done"


def test_the_service_ends_at_once_though_somebody_listens(tmp_path: Path) -> None:
    with running(tmp_path / "data", write_member(tmp_path / "zoo" / "clothes").parent) as house:
        job = house.client.post("/models", json=body(name="slow")).json()
        with house.client.stream("GET", job["links"]["events"]) as response:
            lines = response.iter_lines()
            next(lines)
            began = time.monotonic()
            house.process.terminate()
            for _ in lines:
                pass
        assert house.process.wait(20) == 0
        assert time.monotonic() - began < 10
