import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, insert

from service.app import create_app
from service.db import reading, writing
from service.figures import add_up
from service.house import House
from service.jobs import Job, State, add_job, move
from service.metrics import Metrics, take_snapshot
from service.queue import add_worker, beat, claim_next
from service.scopes import DEFAULT_TENANT
from service.tables import jobs
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, ask, body, new_key, scenario, take_away, with_auth

pytestmark = ON_BOTH_DATABASES
Make = Callable[..., Worker]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def told(app: FastAPI) -> Samples:
    response = ask(app, "GET", "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((f"nnfactory_{name}", tuple(sorted(labels.items()))), 0.0)


def add(engine: Engine, now: float, **changes: object) -> Job:
    with writing(engine) as connection:
        return add_job(
            connection, scenario(**changes), digest=None, request_id="req_1", now=now, tenant=DEFAULT_TENANT
        )


def test_requests_are_counted_by_their_route_and_not_by_their_address(app: FastAPI) -> None:
    for number in range(3):
        ask(app, "GET", f"/jobs/job_{number:032x}")
    ask(app, "POST", "/models", json=BODY)
    ask(app, "GET", "/no/such/thing")
    ask(app, "BREW", "/jobs")
    found = told(app)
    seen = {"method": "GET", "route": "/jobs/{job_id}", "status": "404"}
    assert value(found, "http_requests_total", **seen) == 3
    assert value(found, "http_request_seconds_count", **seen) == 3
    assert value(found, "http_requests_total", method="POST", route="/models", status="202") == 1
    assert value(found, "http_requests_total", method="GET", route="none", status="404") == 1
    assert value(found, "http_requests_total", method="other", route="/jobs", status="405") == 1
    assert not [name for name, labels in found if "job_0" in str(labels)]


def test_jobs_are_told_of_by_how_they_ended_and_how_long_their_phases_took(
    app: FastAPI, house: House, worker_with: Make
) -> None:
    for limits in ({"size_mb": 1}, {"size_mb": 1}, {"size_mb": 2}):
        ask(app, "POST", "/models", json=body(limits=limits))
    worker = worker_with()
    while worker.work_once():
        pass
    add_all(house)
    found = told(app)
    assert value(found, "jobs_ended_total", state="succeeded", code="none", reused="false") == 2
    assert value(found, "jobs_ended_total", state="succeeded", code="none", reused="true") == 1
    assert value(found, "job_wait_seconds_count") == 3
    assert value(found, "job_run_seconds_count") == 2
    for phase in ("assembling", "compiling", "storing"):
        assert value(found, "job_phase_seconds_count", phase=phase) == 2
    assert told(app)[("nnfactory_job_run_seconds_count", ())] == 2


def test_failures_are_told_of_by_their_code(app: FastAPI, house: House) -> None:
    job = add(house.engine, time.time())
    with writing(house.engine) as connection:
        taken = claim_next(connection, "w", lease_s=10, now=time.time())
        assert taken is not None
        move(connection, job.id, State.FAILED, now=time.time(), hold=taken[1], error={"code": "timeout"})
    add_all(house)
    assert value(told(app), "jobs_ended_total", state="failed", code="timeout", reused="false") == 1


def test_the_queue_and_the_workers_are_told_of_as_they_are(app: FastAPI, house: House) -> None:
    add(house.engine, time.time() - 100)
    add(house.engine, time.time())
    with writing(house.engine) as connection:
        for name, ready in (("a", True), ("b", False)):
            add_worker(connection, name, host="h", pid=1, now=time.time())
            beat(connection, name, ready=ready, now=time.time() + 50)
    with writing(house.engine) as connection:
        claim_next(connection, "a", lease_s=10, now=time.time())
    found = told(app)
    assert value(found, "jobs_running") == 1
    assert value(found, "workers_ready") == 1
    assert 0 <= value(found, "oldest_wait_seconds") < 50
    assert value(found, "build_info", version="0.1.0") == 1


def add_all(house: House) -> None:
    """Do what an HTTP process does once a beat."""
    with writing(house.engine) as connection:
        while add_up(connection):
            pass


def work_all(worker: Worker) -> None:
    while worker.work_once():
        pass


def test_every_process_tells_the_same_of_jobs(app: FastAPI, house: House, worker_with: Make) -> None:
    ask(app, "POST", "/models", json=body())
    work_all(worker_with())
    add_all(house)
    later = create_app(replace(house, metrics=Metrics()))
    of_jobs = [
        {key: found for key, found in told(one).items() if key[0].startswith("nnfactory_job")}
        for one in (app, later)
    ]
    assert of_jobs[0] == of_jobs[1]
    assert value(of_jobs[0], "jobs_ended_total", state="succeeded", code="none", reused="false") == 1
    assert value(told(app), "submitted_jobs_total", route="/models") == 1
    assert value(told(later), "submitted_jobs_total", route="/models") == 0


def test_what_is_accepted_is_counted_and_what_is_sent_again_is_not(app: FastAPI) -> None:
    header = {"Idempotency-Key": "once"}
    for _ in range(2):
        ask(app, "POST", "/models", json=body(), headers=header)
        ask(app, "POST", "/models/batch", json=[body(), body()], headers=header)
    ask(app, "POST", "/models", json={})
    found = told(app)
    assert value(found, "submitted_jobs_total", route="/models") == 1
    assert value(found, "submitted_jobs_total", route="/models/batch") == 2
    assert value(found, "jobs_waiting") == 3


def made_file(app: FastAPI, worker: Worker) -> dict[str, Any]:
    job = ask(app, "POST", "/models", json=body()).json()
    worker.work_once()
    (file,) = ask(app, "GET", job["links"]["self"]).json()["result"]["artifacts"]
    found: dict[str, Any] = file
    return found


def test_downloaded_bytes_are_those_that_were_sent(app: FastAPI, worker_with: Make) -> None:
    file = made_file(app, worker_with())
    path = f"/artifacts/{file['id']}"
    ask(app, "GET", path)
    ask(app, "HEAD", path)
    ask(app, "GET", path, headers={"Range": "bytes=0-9"})
    assert value(told(app), "downloaded_bytes_total") == file["bytes"] + 10


def test_problems_and_errors_of_the_store_are_counted(app: FastAPI, house: House, worker_with: Make) -> None:
    file = made_file(app, worker_with())
    house.store.remove(file["sha256"])
    assert ask(app, "GET", f"/artifacts/{file['id']}").status_code == 503
    assert ask(app, "GET", "/nothing").status_code == 404
    found = told(app)
    assert value(found, "problems_total", code="storage-unavailable") == 1
    assert value(found, "problems_total", code="not-found") == 1
    assert value(found, "store_errors_total") == 1


def test_without_the_database_a_process_tells_of_itself(app: FastAPI, house: House) -> None:
    assert value(told(app), "database_up") == 1
    take_away(house)
    assert ask(app, "GET", "/jobs").status_code == 503
    found = told(app)
    assert ("nnfactory_database_up", ()) in found
    assert value(found, "database_up") == 0
    assert value(found, "database_errors_total") == 2
    assert value(found, "problems_total", code="database-unavailable") == 1
    assert not [name for name, _ in found if name.startswith("nnfactory_job")]


def test_where_keys_are_wanted_metrics_have_a_scope_of_their_own(house: House) -> None:
    app = create_app(with_auth(house))
    assert ask(app, "GET", "/metrics").status_code == 401
    _, header = new_key(house, "acme", "read", "write", "admin", "operator")
    assert ask(app, "GET", "/metrics", headers=header).status_code == 403
    _, header = new_key(house, "acme", "metrics")
    assert ask(app, "GET", "/metrics", headers=header).status_code == 200
    assert ask(app, "GET", "/jobs", headers=header).status_code == 403


def test_a_scrape_costs_no_more_with_a_hundred_thousand_ended_jobs(house: House, worker_with: Make) -> None:
    add(house.engine, time.time())
    work_all(worker_with())
    add_all(house)
    with writing(house.engine) as connection:
        row = dict(connection.execute(jobs.select()).mappings().one())
        ids = [f"{number:032x}" for number in range(100_000)]
        connection.execute(insert(jobs), [row | {"id": f"job_{n}", "model_id": f"mdl_{n}"} for n in ids])
    took = []
    for _ in range(10):
        began = time.perf_counter()
        with reading(house.engine) as connection:
            snapshot = take_snapshot(connection, 5.0)
        house.metrics.text(0, snapshot)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.02


def test_the_running_service_adds_up_by_itself(house: House, worker_with: Make) -> None:
    add(house.engine, time.time())
    work_all(worker_with())
    app = create_app(house)

    async def until_told() -> str:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
                for _ in range(200):
                    text = (await client.get("/metrics")).text
                    if "nnfactory_jobs_ended_total{" in text:
                        return text
                    await asyncio.sleep(0.02)
        return ""

    assert 'nnfactory_jobs_ended_total{code="none",reused="false",state="succeeded"} 1.0' in asyncio.run(
        until_told()
    )


def test_every_name_is_one_that_prometheus_takes(app: FastAPI) -> None:
    for name, _ in told(app):
        assert re.fullmatch(r"(nnfactory|process)_[a-z_]+", name)
