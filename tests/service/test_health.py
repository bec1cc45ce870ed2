import os
import time

from fastapi import FastAPI

from assembler.device import save_profile
from service.db import writing
from service.house import House
from service.queue import add_worker, beat
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import ask, make_profile, take_away

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


def test_without_a_worker_it_is_not_ready(app: FastAPI) -> None:
    response = ask(app, "GET", "/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "not-ready")
    assert "worker" in response.json()["detail"]
    assert "retry-after" in response.headers


def test_with_a_ready_worker_it_is_ready(app: FastAPI, house: House) -> None:
    live(house, ready=True)
    response = ask(app, "GET", "/readyz")
    assert response.status_code == 200
    checks = {"database": "ok", "store": "ok", "devices": "ok", "worker": "ok"}
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
    assert "local is not measured yet" in ask(app, "GET", "/readyz").json()["detail"]
    path.write_bytes(content)
    assert ask(app, "GET", "/readyz").status_code == 200
    path.write_bytes(b"torn")
    response = ask(app, "GET", "/readyz")
    assert (response.status_code, response.json()["code"]) == (503, "not-ready")
    assert "local has a damaged profile" in response.json()["detail"]


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
