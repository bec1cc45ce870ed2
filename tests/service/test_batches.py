import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from assembler.artifact import Assembly
from assembler.device import save_profile
from assembler.phase import Phase
from assembler.scenario import Scenario
from service.app import create_app
from service.batches import MAX_SCENARIOS
from service.db import reading
from service.house import House
from service.jobs import State, count_jobs, list_events
from service.queue import DEFAULT_DURATION_S
from service.scopes import DEFAULT_TENANT
from service.tables import jobs
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import Building, ask, body, make_assembly, make_profile

pytestmark = ON_BOTH_DATABASES

Make = Callable[..., Worker]


def submit(app: FastAPI, documents: Any, **headers: str) -> httpx.Response:
    return ask(app, "POST", "/models/batch", json=documents, headers=headers)


def limited(latency_ms: float, **changes: Any) -> dict[str, Any]:
    return body(limits={"latency_ms": latency_ms}, **changes)


def count(house: House) -> int:
    with reading(house.engine) as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def test_all_scenarios_of_a_batch_become_jobs_in_their_order(app: FastAPI) -> None:
    response = submit(app, [limited(1.0, name="a"), limited(2.0), limited(1.0, name="b")])
    batch = response.json()
    assert response.status_code == 202
    assert "retry-after" in response.headers
    assert batch["unique_builds"] == 2
    listed = ask(app, "GET", batch["links"]["jobs"]).json()["jobs"]
    assert [job["id"] for job in listed][::-1] == [job["id"] for job in batch["jobs"]]
    assert [job["scenario"]["name"] for job in listed][::-1] == ["a", None, "b"]
    assert [job["model_id"] for job in listed][::-1] == [job["model_id"] for job in batch["jobs"]]
    assert {job["state"] for job in batch["jobs"]} == {"queued"}
    assert ask(app, "GET", batch["jobs"][0]["links"]["self"]).status_code == 200


def test_a_batch_may_come_as_lines(app: FastAPI, house: House) -> None:
    lines = "\n".join(json.dumps(limited(n)) for n in (1.0, 2.0)) + "\n\n"
    headers = {"Content-Type": "application/x-ndjson"}
    response = ask(app, "POST", "/models/batch", content=lines, headers=headers)
    assert (response.status_code, len(response.json()["jobs"])) == (202, 2)
    broken = ask(app, "POST", "/models/batch", content=lines + '{"a": NaN}', headers=headers)
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed-json")
    assert broken.json()["errors"][0]["pointer"].startswith("/2")
    assert count(house) == 2


def test_one_fault_refuses_the_whole_batch_and_names_every_place(app: FastAPI, house: House) -> None:
    wrong = limited(1.0)
    wrong["limits"]["latency_m"] = 1
    unknown = body(task={"kind": "classification", "classes": ["bag", "boat"]})
    response = submit(app, [limited(1.0), wrong, unknown, 5])
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "scenario-invalid")
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [
        ("/1/limits/latency_m", "scenario-invalid"),
        ("/2/task/classes/1", "unknown-class"),
        ("/3", "scenario-invalid"),
    ]
    assert count(house) == 0


def test_of_very_many_faults_every_place_is_named(app: FastAPI) -> None:
    problem = submit(app, [{**limited(1.0), "wrong": 1}] * 1100).json()
    assert [fault["pointer"] for fault in problem["errors"]] == [f"/{place}/wrong" for place in range(1000)]


@pytest.mark.parametrize(
    ("documents", "status"), [([], 422), ({}, 422), (body(), 422), ([1] * (MAX_SCENARIOS + 1), 413)]
)
def test_what_is_no_batch_is_refused(app: FastAPI, house: House, documents: Any, status: int) -> None:
    assert submit(app, documents).status_code == status
    assert count(house) == 0


def test_a_batch_for_which_there_is_no_room_is_refused_whole(house: House) -> None:
    app = create_app(replace(house, settings=replace(house.settings, queue_limit=3)))
    assert submit(app, [limited(1.0)] * 2).status_code == 202
    full = submit(app, [limited(1.0)] * 2)
    assert (full.status_code, full.json()["code"]) == (503, "queue-full")
    assert submit(app, [limited(1.0)]).status_code == 202
    never = submit(app, [limited(1.0)] * 4)
    assert (never.status_code, never.json()["code"]) == (413, "batch-too-large")


def test_a_repeated_batch_is_answered_as_the_first_time(app: FastAPI, house: House) -> None:
    key = {"Idempotency-Key": "one"}
    first, again = (submit(app, [limited(1.0)] * 3, **key) for _ in range(2))
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert submit(app, [limited(2.0)], **key).json()["code"] == "idempotency-key-reused"
    # The key of a batch is none of a single scenario.
    assert ask(app, "POST", "/models", json=limited(1.0), headers=key).status_code == 202
    assert count(house) == 4


def test_a_job_waits_for_the_refining_of_a_batch_once_a_build(app: FastAPI, house: House) -> None:
    (member,) = house.catalog.members
    save_profile(make_profile(member.card), house.settings.data_dir)
    ask(app, "POST", "/models", json=limited(1.0))
    refined = {"refine": {"seconds": 20}}
    submit(app, [limited(2.0, **refined), limited(2.0, **refined, name="twin"), limited(3.0, **refined)])
    eta_s = ask(app, "POST", "/models", json=limited(1.0)).json()["queue"]["eta_s"]
    assert eta_s == pytest.approx(2 * 20 + 5 * DEFAULT_DURATION_S)


def test_equal_scenarios_of_a_batch_are_built_once_and_all_end(
    app: FastAPI, house: House, worker_with: Make
) -> None:
    (member,) = house.catalog.members
    save_profile(make_profile(member.card), house.settings.data_dir)
    built: list[Scenario] = []

    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        built.append(wanted)
        yield make_assembly(repr(wanted.limits).encode())

    batch = submit(app, [limited(1.0 + n % 4, name=str(n)) for n in range(240)]).json()
    assert batch["unique_builds"] == 4
    assert len({job["scenario_digest"] for job in batch["jobs"]}) == 4
    worker = worker_with(Building(build, digest=lambda one: house.catalog.digest(one, member.card) or ""))
    while worker.work_once():
        pass
    assert len(built) == 4
    with reading(house.engine) as connection:
        assert count_jobs(connection, DEFAULT_TENANT)[State.SUCCEEDED] == 240
        kinds = [[e.kind for e in list_events(connection, job["id"])] for job in batch["jobs"][4:]]
    assert all(each == ["state", "state", "done"] for each in kinds)
    listed = ask(app, "GET", f"{batch['links']['jobs']}&page_size=200").json()["jobs"]
    firsts = {job["id"] for job in batch["jobs"][:4]}
    assert {job["reused_from"] for job in listed if job["id"] not in firsts} == firsts
    assert len({job["result"]["artifacts"][0]["id"] for job in listed}) == 200
