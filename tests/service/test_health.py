import asyncio
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import httpx
from fastapi import FastAPI

from assembler.device import save_profile
from service.app import create_app
from service.catalog import LOOK_S
from service.db import writing
from service.house import House
from service.jobs import add_job
from service.queue import add_worker, beat
from service.scopes import DEFAULT_TENANT
from service.store import FileStore
from service.zoo import find_members
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import ask, make_profile, scenario, take_away, write_member

pytestmark = ON_BOTH_DATABASES


def live(house: House, *, ready: bool, seen_at: float | None = None) -> None:
    with writing(house.engine) as connection:
        add_worker(connection, "wrk_1", host="h", pid=os.getpid(), now=time.time())
        beat(connection, "wrk_1", ready=ready, now=seen_at or time.time() + 100)
    for member in house.catalog.members:
        save_profile(make_profile(member.card), house.settings.data_dir)


def test_a_process_that_answers_is_healthy(app: FastAPI) -> None:
    response = ask(app, "GET", "/healthz")
    assert (response.status_code, response.json()["status"]) == (200, "ok")


def test_whoever_looks_without_reading_is_answered_alike(app: FastAPI) -> None:
    for path in ("/healthz", "/readyz"):
        assert ask(app, "HEAD", path).status_code == ask(app, "GET", path).status_code


def test_without_a_worker_it_is_not_ready(app: FastAPI) -> None:
    response = ask(app, "GET", "/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "not-ready")
    assert "worker" in response.json()["detail"]
    assert "retry-after" in response.headers


def test_with_a_ready_worker_it_is_ready(app: FastAPI, house: House) -> None:
    live(house, ready=True)
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 200
    checks = dict.fromkeys(("database", "store", "devices", "worker", "queue"), "ok")
    assert response.json()["checks"] == checks


def test_a_worker_that_is_still_measuring_or_went_silent_does_not_count(app: FastAPI, house: House) -> None:
    live(house, ready=False)
    assert ask(app, "GET", "/readyz").status_code == 503
    with writing(house.engine) as connection:
        beat(connection, "wrk_1", ready=True, now=time.time() - 60)
    assert ask(app, "GET", "/readyz").status_code == 503


def test_a_device_that_is_not_measured_or_lost_its_profile_is_named(app: FastAPI, house: House) -> None:
    live(house, ready=True)
    (path,) = (house.settings.data_dir / "profiles").iterdir()
    content = path.read_bytes()
    path.unlink()
    time.sleep(LOOK_S)
    assert "local is not measured yet" in ask(app, "GET", "/readyz").json()["detail"]
    path.write_bytes(content)
    assert ask(app, "GET", "/readyz").status_code == 200
    path.write_bytes(b"torn")
    time.sleep(LOOK_S)
    response = ask(app, "GET", "/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "not-ready")
    assert "local has a damaged profile" in response.json()["detail"]


def test_a_supernet_that_has_just_come_keeps_nobody_away_from_the_others(
    app: FastAPI, house: House, tmp_path: Path
) -> None:
    live(house, ready=True)
    write_member(tmp_path / "more" / "shoes", "shoes", ("clog", "slipper"))
    new = find_members([tmp_path / "more"])
    house.catalog.members = (*house.catalog.members, *new)
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 200
    told = response.json()["checks"]["devices"]
    assert told == "degraded: local is not measured yet for shoes"


def test_jobs_that_wait_for_long_are_told_of(app: FastAPI, house: House) -> None:
    live(house, ready=True)
    with writing(house.engine) as connection:
        add_job(
            connection,
            scenario(),
            digest=None,
            request_id="req_1",
            now=time.time() - 300,
            tenant=DEFAULT_TENANT,
        )
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 200
    assert re.fullmatch(r"degraded: .* 30\d s", response.json()["checks"]["queue"])


def test_a_redis_that_is_away_keeps_nobody_away(house: House) -> None:
    settings = replace(house.settings, redis_url="redis://127.0.0.1:1/0")
    app = create_app(replace(house, settings=settings))
    live(house, ready=True)
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 200
    assert response.json()["checks"]["redis"].startswith("degraded: ")


def test_a_store_that_hangs_is_said_to_within_seconds(house: House) -> None:
    class Hanging(FileStore):
        def check(self) -> None:
            time.sleep(6)

    app = create_app(replace(house, store=Hanging(house.settings.store_path)))
    live(house, ready=True)

    async def look() -> tuple[float, str]:
        began = time.perf_counter()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            found = await client.get("/readyz")
        await house.database.leave_loop()
        return time.perf_counter() - began, found.json()["detail"]

    took, detail = asyncio.run(look())
    assert took < 4
    assert detail == "store: does not answer"


def test_a_process_that_is_about_to_end_says_so(app: FastAPI, house: House) -> None:
    live(house, ready=True)
    house.listeners.close()
    response = ask(app, "GET", "/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "draining")
    assert response.json()["retryable"]
    assert "retry-after" in response.headers


def test_a_store_that_cannot_be_written_is_named(app: FastAPI, house: House) -> None:
    live(house, ready=True)
    house.settings.store_path.parent.mkdir(exist_ok=True)
    house.settings.store_path.write_text("in the way")
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 503
    assert "store" in response.json()["detail"]


def test_a_database_that_is_gone_is_named(app: FastAPI, house: House) -> None:
    take_away(house)
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 503
    assert "database" in response.json()["detail"]


def test_the_first_page_leads_on_and_runs_nothing(app: FastAPI) -> None:
    response = ask(app, "GET", "/")
    assert response.headers["content-type"].startswith("text/html")
    assert "/openapi.json" in response.text
    assert response.headers["content-security-policy"] == "default-src 'none'"
