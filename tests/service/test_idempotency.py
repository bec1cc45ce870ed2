import asyncio
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, func, select

from assembler.artifact import Assembly
from assembler.phase import Phase
from assembler.scenario import Scenario
from service.app import create_app
from service.db import reading, writing
from service.errors import Refused
from service.house import House
from service.idempotency import (
    IN_FLIGHT_S,
    KEPT_S,
    Answered,
    Repeat,
    find_repeat,
    forget_repeats,
    has_old_repeats,
    note_answer,
    note_repeat,
)
from service.jobs import add_job
from service.tables import jobs
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import Building, ask, body, make_assembly, new_key, scenario, with_auth

pytestmark = ON_BOTH_DATABASES

Make = Callable[..., Worker]
REPEAT = Repeat.of("POST /models", "key", "body")


def submit(app: FastAPI, key: str = "one", **changes: object) -> httpx.Response:
    return ask(app, "POST", "/models", json=body(**changes), headers={"Idempotency-Key": key})


def count(house: House) -> int:
    with reading(house.engine) as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def test_the_first_answer_is_given_again_and_no_second_job_is_made(
    app: FastAPI, house: House, worker_with: Make
) -> None:
    first = submit(app, name="dock 3")
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    worker_with().work_once()
    again = submit(app, name="dock 3")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert count(house) == 1


def test_the_same_key_with_another_body_is_refused_and_spacing_is_no_other_body(
    app: FastAPI, house: House
) -> None:
    first = submit(app)
    other = submit(app, name="other")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    spaced = ask(
        app,
        "POST",
        "/models",
        content=b" " + httpx.Request("POST", "http://x", json=body()).content,
        headers={"Idempotency-Key": '"one"', "Content-Type": "application/json"},
    )
    assert spaced.json() == first.json()
    assert submit(app, "two").json()["id"] != first.json()["id"]
    assert count(house) == 2


def test_a_key_of_one_tenant_is_none_of_another(house: House) -> None:
    app = create_app(with_auth(house))
    made = set()
    for tenant in ("acme", "zeta"):
        headers = {**new_key(house, tenant)[1], "Idempotency-Key": "one"}
        answers = [ask(app, "POST", "/models", json=body(name=tenant), headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        made |= {answer.json()["id"] for answer in answers}
    assert len(made) == 2


def test_what_was_refused_is_not_remembered(app: FastAPI) -> None:
    assert submit(app, limits={}).status_code == 422
    assert submit(app).status_code == 202


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\x7f"])
def test_a_key_that_is_none_is_refused(app: FastAPI, house: House, key: str) -> None:
    response = submit(app, key)
    assert (response.status_code, response.json()["code"]) == (400, "bad-header")
    assert count(house) == 0


def test_while_the_first_answer_waits_for_the_job_a_repeat_is_told_so(
    app: FastAPI, house: House, worker_with: Make
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        inside.set()
        go_on.wait(20)
        yield make_assembly(b"onnx")

    worker = worker_with(Building(build))
    thread = threading.Thread(target=worker.run)
    thread.start()

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            post = lambda: client.post(  # noqa: E731
                "/models", json=body(), headers={"Idempotency-Key": "one", "Prefer": "wait=20"}
            )
            first = asyncio.create_task(post())
            await asyncio.to_thread(inside.wait, 20)
            early = await post()
            go_on.set()
            return [await first, early, await post()]

    try:
        first, early, late = asyncio.run(send())
    finally:
        go_on.set()
        worker.stop()
        thread.join(5)
    assert (early.status_code, early.json()["code"]) == (409, "idempotency-in-progress")
    assert "retry-after" in early.headers
    assert (first.status_code, first.json()["state"]) == (201, "succeeded")
    assert (late.status_code, late.json()) == (201, first.json())
    assert count(house) == 1


def test_a_key_whose_process_died_before_it_answered_leads_to_its_job(engine: Engine) -> None:
    with writing(engine) as connection:
        job = add_job(connection, scenario(), digest=None, request_id="req_1", now=0.0)
        note_repeat(connection, REPEAT, job.id, now=0.0)
        with pytest.raises(Refused, match="being answered"):
            find_repeat(connection, REPEAT, now=IN_FLIGHT_S - 1)
        found = find_repeat(connection, REPEAT, now=IN_FLIGHT_S + 1)
        assert found == Answered(job.id, repeated=True)
        note_answer(connection, REPEAT, 201, "{}")
        note_answer(connection, REPEAT, 202, "later")
        found = find_repeat(connection, REPEAT, now=IN_FLIGHT_S + 1)
        assert found == Answered(job.id, repeated=True, status=201, content="{}")


def test_keys_are_kept_for_two_days(engine: Engine) -> None:
    with writing(engine) as connection:
        job = add_job(connection, scenario(), digest=None, request_id="req_1", now=0.0)
        note_repeat(connection, REPEAT, job.id, now=0.0)
        assert find_repeat(connection, REPEAT, now=KEPT_S - 1) is not None
        assert not has_old_repeats(connection, now=KEPT_S - 1)
        assert find_repeat(connection, REPEAT, now=KEPT_S + 1) is None
        # A new request may use it again, also when nobody has swept yet.
        note_repeat(connection, REPEAT, job.id, now=KEPT_S + 1)
        assert has_old_repeats(connection, now=2 * KEPT_S + 2)
        assert forget_repeats(connection, now=2 * KEPT_S + 2) == 1


def test_many_equal_requests_at_once_make_one_job(app: FastAPI, house: House) -> None:
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            posts = [
                client.post("/models", json=body(), headers={"Idempotency-Key": "one"}) for _ in range(20)
            ]
            return await asyncio.gather(*posts)

    found = asyncio.run(send())
    assert {response.status_code for response in found} <= {202, 409}
    assert len({response.json()["id"] for response in found if response.status_code == 202}) == 1
    assert count(house) == 1
