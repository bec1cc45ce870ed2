import re
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from service.db import reading, writing
from service.house import House
from service.jobs import Job, State, add_job, move
from service.metrics import LATE_S, Metrics, ended_since, standing_of
from service.queue import add_worker, beat, claim_next
from service.scopes import DEFAULT_TENANT
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, ask, body, scenario

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
    seen = {"method": "GET", "route": "/jobs/{job_id:id}"}
    assert value(found, "http_requests_total", **seen, status="404") == 3
    assert value(found, "http_request_seconds_count", **seen) == 3
    assert value(found, "http_requests_total", method="POST", route="/models", status="202") == 1
    assert value(found, "http_requests_total", method="GET", route="none", status="404") == 1
    assert value(found, "http_requests_total", method="other", route="/jobs", status="405") == 1
    assert not [name for name, labels in found if "job_0" in str(labels)]


def test_jobs_are_told_of_by_how_they_ended_and_how_long_their_phases_took(
    app: FastAPI, worker_with: Make
) -> None:
    told(app)
    for limits in ({"size_mb": 1}, {"size_mb": 1}, {"size_mb": 2}):
        ask(app, "POST", "/models", json=body(limits=limits))
    worker = worker_with()
    while worker.work_once():
        pass
    found = told(app)
    assert value(found, "jobs_ended_total", state="succeeded", code="none", reused="false") == 2
    assert value(found, "jobs_ended_total", state="succeeded", code="none", reused="true") == 1
    assert value(found, "job_wait_seconds_count") == 3
    assert value(found, "job_run_seconds_count") == 2
    for phase in ("assembling", "compiling", "storing"):
        assert value(found, "job_phase_seconds_count", phase=phase) == 2
    assert told(app)[("nnfactory_job_run_seconds_count", ())] == 2


def test_failures_are_told_of_by_their_code(app: FastAPI, house: House) -> None:
    told(app)
    job = add(house.engine, time.time())
    with writing(house.engine) as connection:
        taken = claim_next(connection, "w", lease_s=10, now=time.time())
        assert taken is not None
        move(connection, job.id, State.FAILED, now=time.time(), hold=taken[1], error={"code": "timeout"})
    assert value(told(app), "jobs_ended_total", state="failed", code="timeout", reused="false") == 1


def test_the_queue_and_the_workers_are_told_of_as_they_are(app: FastAPI, house: House) -> None:
    add(house.engine, time.time() - 100)
    add(house.engine, time.time())
    with writing(house.engine) as connection:
        for name, ready in (("a", True), ("b", False)):
            add_worker(connection, name, host="h", pid=1, now=time.time())
            beat(connection, name, ready=ready, now=time.time() + 50)
    with reading(house.engine) as connection:
        assert standing_of(connection).running == 0
    with writing(house.engine) as connection:
        claim_next(connection, "a", lease_s=10, now=time.time())
    found = told(app)
    assert value(found, "jobs_running") == 1
    assert value(found, "workers_ready") == 1
    assert 0 <= value(found, "oldest_wait_seconds") < 50
    assert value(found, "build_info", version="0.1.0") == 1


def test_what_is_written_late_is_counted_once_and_what_ended_before_the_start_never(engine: Engine) -> None:
    metrics, now = Metrics(), time.time()
    end(engine, now - 60)
    with reading(engine) as connection:
        metrics.read(connection)
    end(engine, now + 10)
    with reading(engine) as connection:
        metrics.read(connection)
        metrics.read(connection)
    # It bears an earlier time than what was seen already.
    end(engine, now + 10 - LATE_S / 2)
    with reading(engine) as connection:
        metrics.read(connection)
        metrics.read(connection)
        assert len(ended_since(connection, now)) == 2
    assert metrics.registry.get_sample_value(
        "nnfactory_jobs_ended_total", {"state": "cancelled", "code": "none", "reused": "false"}
    ) == pytest.approx(2)


def end(engine: Engine, at: float) -> None:
    job = add(engine, at)
    with writing(engine) as connection:
        assert move(connection, job.id, State.CANCELLED, now=at)


def test_every_name_is_one_that_prometheus_takes(app: FastAPI) -> None:
    for name, _ in told(app):
        assert re.fullmatch(r"nnfactory_[a-z_]+", name)
