import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from standardwebhooks import Webhook as Verifier

from service.app import create_app
from service.courier import Courier
from service.db import writing
from service.errors import Refused
from service.house import House
from service.notices import demand_target
from service.outbox import Outcome, claim, note_outcome
from service.targets import Allowed
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, ask
from tests.service.receiver import receiving

pytestmark = ON_BOTH_DATABASES

LOOPBACK = Allowed.parse("127.0.0.1")
PUBLIC = "https://8.8.8.8/hook"


@pytest.fixture
def inside(house: House) -> FastAPI:
    """An application that may send to receivers of this machine."""
    return create_app(replace(house, settings=replace(house.settings, webhook_allow=LOOPBACK)))


def send(house: House) -> None:
    async def run() -> None:
        courier = Courier(house.database, LOOPBACK)
        await courier.send_due()
        await courier.settle()
        await house.database.leave_loop()

    asyncio.run(run())


def test_a_webhook_is_made_read_listed_and_deleted(app: FastAPI) -> None:
    wanted = {"url": PUBLIC, "events": ["job.failed", "job.expired"], "description": "pager"}
    made = ask(app, "POST", "/webhooks", json=wanted)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    told = made.json()
    assert told.pop("secret").startswith("whsec_")
    assert {name: told[name] for name in wanted} == wanted
    assert ask(app, "GET", made.headers["location"]).json() == told
    second = ask(app, "POST", "/webhooks", json={"url": PUBLIC}).json()
    assert second["events"] == ["*"]
    page = ask(app, "GET", "/webhooks?page_size=1").json()
    rest = ask(app, "GET", f"/webhooks?page_token={page['next_page_token']}").json()
    assert [one["id"] for one in page["webhooks"] + rest["webhooks"]] == [second["id"], told["id"]]
    assert "whsec_" not in str(page) + str(rest)
    assert ask(app, "DELETE", made.headers["location"]).status_code == 204
    for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries")):
        assert ask(app, method, made.headers["location"] + more).status_code == 404


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"url": "http://127.0.0.1/"}, "webhook-url-forbidden", "/url"),
        ({"url": "http://localhost:8000/"}, "webhook-url-forbidden", "/url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "webhook-url-forbidden", "/url"),
        ({"url": "http://2130706433/"}, "webhook-url-forbidden", "/url"),
        ({"url": "http://[::ffff:7f00:1]/"}, "webhook-url-forbidden", "/url"),
        ({"url": "http://me:hunter2@8.8.8.8/"}, "webhook-url-forbidden", "/url"),
        ({"url": "nonsense"}, "webhook-url-forbidden", "/url"),
        ({"url": 5}, "webhook-invalid", "/url"),
        ({"events": []}, "webhook-invalid", "/events"),
        ({"events": "*"}, "webhook-invalid", "/events"),
        ({"events": ["job.began"]}, "webhook-invalid", "/events"),
        ({"events": ["job.failed\n"]}, "webhook-invalid", "/events/0"),
        ({"description": "x" * 201}, "webhook-invalid", "/description"),
        ({"secret": "x"}, "webhook-invalid", "/secret"),
    ],
)
def test_what_cannot_be_a_webhook_is_refused_by_its_field(
    app: FastAPI, change: dict[str, Any], code: str, pointer: str
) -> None:
    response = ask(app, "POST", "/webhooks", json={"url": PUBLIC, **change})
    assert (response.status_code, response.json()["code"]) == (422, code)
    assert [one["pointer"] for one in response.json()["errors"]] == [pointer]
    assert "hunter2" not in response.text
    assert ask(app, "GET", "/webhooks").json()["webhooks"] == []


def test_a_host_that_is_not_known_yet_may_become_known() -> None:
    async def fail(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    async def inner(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1"]

    asyncio.run(demand_target("https://receiver.example/", Allowed(), fail))
    with pytest.raises(Refused, match="webhook-url-forbidden"):
        asyncio.run(demand_target("https://receiver.example/", Allowed(), inner))


def test_the_end_of_a_job_is_told_logged_and_told_again(
    house: House, inside: FastAPI, worker_with: Callable[[], Worker]
) -> None:
    with receiving() as receiver:
        made = ask(inside, "POST", "/webhooks", json={"url": receiver.url(), "events": ["job.succeeded"]})
        job = ask(inside, "POST", "/models", json=BODY).json()
        worker_with().work_once()
        place = f"{made.headers['location']}/deliveries"
        (waiting,) = ask(inside, "GET", place).json()["deliveries"]
        assert (waiting["state"], waiting["attempts"], waiting["event"]) == ("pending", 0, "job.succeeded")
        send(house)
        message = Verifier(made.json()["secret"]).verify(receiver.bodies[0], receiver.headers[0])
        assert message["data"] == ask(inside, "GET", job["links"]["self"]).json()
        (sent,) = ask(inside, "GET", place).json()["deliveries"]
        assert (sent["state"], sent["status_code"], sent["next_attempt_at"]) == ("delivered", 204, None)
        again = ask(inside, "POST", f"{place}/{sent['id']}/replay")
        assert (again.status_code, again.json()["replay_of"]) == (201, sent["id"])
        send(house)
    assert receiver.bodies[0] == receiver.bodies[1]
    assert {one["webhook-id"] for one in receiver.headers} == {sent["message_id"]}
    page = ask(inside, "GET", f"{place}?page_size=1").json()
    assert [one["id"] for one in page["deliveries"]] == [again.json()["id"]]
    rest = ask(inside, "GET", f"{place}?page_token={page['next_page_token']}").json()
    assert rest["deliveries"] == [sent]
    assert ask(inside, "POST", f"{place}/dlv_{'0' * 32}/replay").status_code == 404


def test_a_webhook_that_is_disabled_says_so_and_is_not_replayed_until_it_is_enabled(
    house: House, app: FastAPI, worker_with: Callable[[], Worker]
) -> None:
    made = ask(app, "POST", "/webhooks", json={"url": PUBLIC}).json()
    ask(app, "POST", "/models", json=BODY)
    worker_with().work_once()
    with writing(house.engine) as connection:
        (one,) = claim(connection, {made["id"]: 1}, now=time.time())
        note_outcome(connection, one, Outcome(410, "it is gone"), now=time.time())
    webhook = ask(app, "GET", f"/webhooks/{made['id']}").json()
    assert webhook["disabled_reason"] == "the receiver said that it is gone (410)"
    again = f"/webhooks/{made['id']}/deliveries/{one.id}/replay"
    response = ask(app, "POST", again)
    assert (response.status_code, response.json()["code"]) == (409, "webhook-disabled")
    for _ in range(2):
        enabled = ask(app, "POST", f"/webhooks/{made['id']}/enable")
        assert (enabled.status_code, enabled.json()["disabled_reason"]) == (200, None)
    assert ask(app, "POST", again).status_code == 201


def test_a_message_is_signed_with_a_rotated_secret_and_with_the_one_before(
    house: House, inside: FastAPI
) -> None:
    with receiving() as receiver:
        made = ask(inside, "POST", "/webhooks", json={"url": receiver.url()})
        rotated = ask(inside, "POST", f"{made.headers['location']}/rotate")
        assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
        secrets = [made.json()["secret"], rotated.json()["secret"]]
        assert secrets[0] != secrets[1]
        known = ask(inside, "GET", made.headers["location"]).json()
        assert known == {name: rotated.json()[name] for name in known}
        assert known["old_secret_until"] > known["created_at"]
        job = ask(inside, "POST", "/models", json=BODY).json()
        ask(inside, "POST", f"/jobs/{job['id']}/cancel")
        send(house)
    for secret in secrets:
        assert Verifier(secret).verify(receiver.bodies[0], receiver.headers[0])["type"] == "job.cancelled"
    assert len(receiver.headers[0]["webhook-signature"].split()) == 2
    for act in ("enable", "rotate"):
        assert ask(inside, "POST", f"/webhooks/whk_{'0' * 32}/{act}").status_code == 404
