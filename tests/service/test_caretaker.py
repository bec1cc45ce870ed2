import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from service.app import _forget as forget_repeats_of
from service.caretaker import remove_doomed, retire_old, take_care, tidy
from service.db import is_embedded, writing
from service.house import House
from service.removal import delete_model
from service.settings import DAY_S
from service.store import LEFT_AFTER_S, FileStore
from service.tables import doomed_contents
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, Building, ask, build_both
from tests.service.publishing import make_model

pytestmark = ON_BOTH_DATABASES

Make = Callable[..., Worker]


def do(house: House, act: Callable[[House], Awaitable[int]]) -> int:
    async def run() -> int:
        count = await act(house)
        await house.database.leave_loop()
        return count

    return asyncio.run(run())


def files(house: House) -> list[Path]:
    return [path for path in house.settings.store_path.rglob("*") if path.is_file()]


def made(app: FastAPI, worker_with: Make, build: Any = build_both) -> dict[str, Any]:
    posted = ask(app, "POST", "/models", json=BODY)
    assert worker_with(Building(build)).work_once()
    job: dict[str, Any] = ask(app, "GET", posted.headers["location"]).json()
    assert job["state"] == "succeeded"
    return job


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_deleted_model_goes_with_its_files_and_an_equal_scenario_is_built_anew(
    house: House, app: FastAPI, worker_with: Make
) -> None:
    job = made(app, worker_with)
    path = job["links"]["model"]
    assert ask(app, "DELETE", path).status_code == 204
    assert code_of(ask(app, "GET", path)) == (404, "not-found")
    assert code_of(ask(app, "DELETE", path)) == (404, "not-found")
    for artifact in job["result"]["artifacts"]:
        for place in (f"/artifacts/{artifact['id']}", f"/artifacts/{artifact['id']}/manifest"):
            assert code_of(ask(app, "GET", place)) == (410, "artifact-expired")
        assert ask(app, "HEAD", f"/artifacts/{artifact['id']}").status_code == 410
    assert do(house, remove_doomed) == 2
    assert files(house) == []
    again = made(app, worker_with)
    assert again["reused_from"] is None
    assert ask(app, "GET", again["links"]["model"]).status_code == 200
    assert len(files(house)) == 2


def test_the_files_of_a_deleted_model_stay_while_another_one_has_them(
    house: House, app: FastAPI, worker_with: Make
) -> None:
    first, second = made(app, worker_with), made(app, worker_with)
    assert second["reused_from"] == first["id"]
    ask(app, "DELETE", first["links"]["model"])
    assert do(house, remove_doomed) == 0
    (artifact, _) = second["result"]["artifacts"]
    assert ask(app, "GET", f"/artifacts/{artifact['id']}").status_code == 200
    third = made(app, worker_with)
    assert third["reused_from"] is None


def test_a_model_whose_job_has_not_ended_is_not_deleted(app: FastAPI) -> None:
    job = ask(app, "POST", "/models", json=BODY).json()
    assert code_of(ask(app, "DELETE", job["links"]["model"])) == (409, "model-not-finished")


def test_nothing_is_too_old_unless_the_settings_say_so(house: House) -> None:
    make_model(house.engine, house.store, now=1.0)
    assert do(house, retire_old) == 0


def test_what_is_older_than_the_settings_say_goes(house: House, app: FastAPI) -> None:
    job = make_model(house.engine, house.store)
    brief = replace(house, settings=replace(house.settings, keep_s=0.5))
    assert do(brief, retire_old) == 0
    time.sleep(0.6)
    assert do(brief, retire_old) == 2
    assert do(brief, remove_doomed) == 1
    for kind, name in (("jobs", job.id), ("models", job.model_id)):
        assert ask(app, "GET", f"/{kind}/{name}").status_code == 404
    assert files(house) == []


def test_files_that_belong_to_nothing_go_after_an_hour(house: House) -> None:
    make_model(house.engine, house.store, b"wanted")
    wanted, old, new = (house.store.put(content) for content in (b"wanted", b"old", b"new"))
    then = time.time() - LEFT_AFTER_S - 1
    for path in files(house):
        if path.name != new:
            os.utime(path, (then, then))
    assert do(house, tidy) == 1
    assert do(house, remove_doomed) == 1
    assert {path.name for path in files(house)} == {wanted, new}
    assert not house.store.holds(old)


def test_a_store_that_fails_is_tried_again_later(house: House) -> None:
    class Broken(FileStore):
        def remove(self, digest: str) -> None:
            raise OSError(5, "Input/output error")

    job = make_model(house.engine, house.store)
    app_store = replace(house, store=Broken(house.settings.store_path))
    with writing(house.engine) as connection:
        delete_model(connection, "default", job.model_id, now=time.time())
    with pytest.raises(OSError, match="Input/output"):
        do(app_store, remove_doomed)
    assert do(house, remove_doomed) == 0
    with writing(house.engine) as connection:
        connection.execute(update(doomed_contents).values(due_at=0.0))
    assert do(house, remove_doomed) == 1


def test_care_is_taken_while_the_service_runs(house: House) -> None:
    make_model(house.engine, house.store)
    brief = replace(house, settings=replace(house.settings, keep_s=1e-3, beat_s=0.01))

    async def run() -> None:
        task = asyncio.create_task(take_care(brief))
        until = time.monotonic() + 20
        while files(house) and time.monotonic() < until:
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await house.database.leave_loop()

    asyncio.run(run())
    assert files(house) == []


def test_a_process_whose_clock_is_wrong_removes_nothing_of_a_server_that_others_share(
    house: House, app: FastAPI, worker_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = replace(house, settings=replace(house.settings, keep_s=90 * DAY_S))
    key = {"Idempotency-Key": "once"}
    job = made(app, worker_with)
    first = ask(app, "POST", "/models", json=BODY, headers=key)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 100 * DAY_S)

    async def look_after() -> int:
        await forget_repeats_of(kept)
        await tidy(kept)
        count = await retire_old(kept)
        await kept.database.leave_loop()
        return count

    removed = asyncio.run(look_after())
    monkeypatch.undo()
    # A file is this machine's alone, and so is its clock.
    shared = not is_embedded(house.engine)
    assert (removed == 0) == shared
    assert (ask(app, "GET", job["links"]["self"]).status_code == 200) == shared
    again = ask(app, "POST", "/models", json=BODY, headers=key)
    assert ("idempotency-replayed" in again.headers) == shared
    assert (again.headers["location"] == first.headers["location"]) == shared
