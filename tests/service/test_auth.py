import asyncio
import itertools
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from service.app import create_app
from service.audit import Actor
from service.auth import Caller, anyone
from service.backlog import STALE_S
from service.db import reading, writing
from service.gate import is_public
from service.house import House
from service.http import page_token
from service.keys import new_secret, revoke_key
from service.scopes import Scope
from service.tables import metadata
from service.worker import Worker
from tests.service.making import ask, body, new_key, with_auth


def caller(*scopes: Scope) -> Caller:
    return Caller("acme", frozenset(scopes), Actor("key_1"))


def operations(app: FastAPI) -> list[tuple[str, str, dict[str, Any]]]:
    paths = ask(app, "GET", "/openapi.json").json()["paths"]
    return [(path, method, one) for path, methods in paths.items() for method, one in methods.items()]


def test_every_route_declares_its_scope_or_is_public(app: FastAPI) -> None:
    for path, method, one in operations(app):
        if is_public(path):
            assert "security" not in one, path
            continue
        (needed,) = one["security"]
        (scope,) = needed["key"]
        assert scope in list(Scope), (path, method)
        assert {"401", "403"} <= set(one["responses"])


def test_what_changes_something_is_not_declared_as_reading(app: FastAPI) -> None:
    reading = {path for path, method, one in operations(app) if method not in ("get", "head") and reads(one)}
    assert reading <= {"/models/check", "/models/pareto"}


def reads(operation: dict[str, Any]) -> bool:
    return operation["security"] == [{"key": ["read"]}]


def test_the_description_says_how_keys_are_sent(app: FastAPI) -> None:
    schemes = ask(app, "GET", "/openapi.json").json()["components"]["securitySchemes"]
    assert (schemes["key"]["type"], schemes["key"]["scheme"]) == ("http", "bearer")


def test_no_scope_holds_another_but_an_operator_is_an_admin() -> None:
    for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN):
        assert [other for other in Scope if caller(scope).may(other)] == [scope]
    assert [other for other in Scope if caller(Scope.OPERATOR).may(other)] == [Scope.ADMIN, Scope.OPERATOR]


def test_an_admin_sees_one_tenant_and_an_operator_all() -> None:
    assert caller(Scope.ADMIN).reach == "acme"
    assert caller(Scope.ADMIN, Scope.OPERATOR).reach is None


def test_a_key_without_the_scope_is_told_which_one_is_needed(house: House) -> None:
    app = create_app(with_auth(house))
    _, header = new_key(house, "acme", "read")
    response = ask(app, "POST", "/models", json={}, headers=header)
    assert (response.status_code, response.json()["code"]) == (403, "insufficient-scope")
    assert response.headers["www-authenticate"].endswith('error="insufficient_scope", scope="write"')
    assert ask(app, "GET", "/jobs", headers=header).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/keys"), ("POST", "/keys"), ("GET", "/audit")])
def test_where_no_keys_are_wanted_nobody_is_an_admin(app: FastAPI, method: str, path: str) -> None:
    response = ask(app, method, path)
    assert (response.status_code, response.json()["code"]) == (403, "insufficient-scope")
    assert not anyone(Actor()).may(Scope.ADMIN)


@dataclass(frozen=True)
class Belongings:
    """What one tenant has: one of everything that has an address, a waiting job, and a key for everything."""

    job: dict[str, Any]
    waiting: dict[str, Any]
    batch_id: str
    key_id: str
    webhook_id: str
    delivery_id: str
    report_id: str
    device: str
    header: dict[str, str]

    @property
    def artifact_id(self) -> str:
        found: str = self.job["result"]["artifacts"][0]["id"]
        return found

    @property
    def ids(self) -> dict[str, str]:
        """By the names that the parts of addresses have."""
        return {
            "job_id": self.waiting["id"],
            "model_id": self.job["model_id"],
            "artifact_id": self.artifact_id,
            "key_id": self.key_id,
            "webhook_id": self.webhook_id,
            "delivery_id": self.delivery_id,
            "report_id": self.report_id,
            "name": self.device,
        }

    @property
    def places(self) -> list[str]:
        """The addresses that tell all of what is kept, but for the waiting job."""
        webhook, artifact = f"/webhooks/{self.webhook_id}", f"/artifacts/{self.artifact_id}"
        return [
            f"/jobs/{self.job['id']}",
            f"/models/{self.job['model_id']}",
            artifact,
            f"{artifact}/reports",
            webhook,
            f"{webhook}/deliveries",
            f"/devices/{self.device}",
            f"/keys/{self.key_id}",
        ]


@pytest.fixture
def locked(house: House) -> FastAPI:
    return create_app(with_auth(house))


DEVICE_OF = {"acme": "cellar", "zeta": "attic"}
URL = "https://8.8.8.8/hook"


@pytest.fixture
def both(house: House, locked: FastAPI, worker_with: Callable[[], Worker]) -> tuple[Belongings, Belongings]:
    """Two tenants that asked for equal models."""

    def made(path: str, header: dict[str, str], **wanted: Any) -> dict[str, Any]:
        answer = ask(locked, "POST", path, json=wanted, headers=header)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    keys = {tenant: new_key(house, tenant, "read", "write", "admin") for tenant in DEVICE_OF}
    begun = []
    for tenant, (_, header) in keys.items():
        webhook = made("/webhooks", header, url=URL)
        made("/devices", header, name=DEVICE_OF[tenant])
        job = made("/models", header, **body(name=tenant, labels={"site": tenant}))
        begun.append((webhook["id"], job["links"]["self"]))
    worker = worker_with()
    while worker.work_once():
        pass
    found = []
    for (tenant, (key_id, header)), (webhook, link) in zip(keys.items(), begun, strict=True):
        wanted = [body(verify=False, name=tenant, labels={"site": tenant})]
        batch = ask(locked, "POST", "/models/batch", json=wanted, headers=header).json()
        links = [link, batch["jobs"][0]["links"]["self"]]
        ended, waiting = (ask(locked, "GET", link, headers=header).json() for link in links)
        assert ended["state"] == "succeeded"
        file = ended["result"]["artifacts"][0]["id"]
        report = made(f"/artifacts/{file}/reports", header, latency_ms=1.5)["id"]
        told = ask(locked, "GET", f"/webhooks/{webhook}/deliveries", headers=header).json()["deliveries"]
        owned = (batch["batch_id"], key_id, webhook, told[0]["id"], report, DEVICE_OF[tenant])
        found.append(Belongings(ended, waiting, *owned, header))
    return found[0], found[1]


@pytest.fixture
def acme(both: tuple[Belongings, Belongings]) -> Belongings:
    return both[0]


@pytest.fixture
def zeta(both: tuple[Belongings, Belongings]) -> Belongings:
    return both[1]


def is_as_before(app: FastAPI, one: Belongings) -> bool:
    """Return whether a tenant's waiting job is as it was, but for its place, which is counted once a second."""
    found = ask(app, "GET", f"/jobs/{one.waiting['id']}", headers=one.header).json()
    return {**found, "queue": None} == {**one.waiting, "queue": None}


def told(response: httpx.Response) -> dict[str, Any]:
    """Return what an answer says, but for what names the request."""
    found = response.json() if response.content else {}
    return {name: found[name] for name in found if name not in ("instance", "request_id")}


def kept(app: FastAPI, one: Belongings) -> list[tuple[int, bytes]]:
    """Return what a tenant finds at its addresses."""
    answers = [ask(app, "GET", place, headers=one.header) for place in one.places]
    return [(answer.status_code, answer.content) for answer in answers]


def address(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda found: ids[found[1]], path)


def protected(app: FastAPI) -> list[tuple[str, str, str]]:
    """Return address, method and scope of every route that needs a key."""
    return [
        (path, method.upper(), one["security"][0]["key"][0])
        for path, method, one in operations(app)
        if not is_public(path)
    ]


def bad_keys(house: House) -> list[dict[str, str]]:
    every = ("read", "write", "admin", "operator")
    known, _ = new_key(house, "acme", *every)
    _, expired = new_key(house, "acme", *every, expires_at=time.time() - 1)
    revoked_id, revoked = new_key(house, "acme", *every)
    with writing(house.engine) as connection:
        revoke_key(connection, revoked_id, now=time.time())
    wrong = {"Authorization": f"Bearer {new_secret(known)}"}
    return [{}, {"Authorization": "Bearer x"}, wrong, expired, revoked]


def test_no_route_answers_without_a_good_key(house: House, locked: FastAPI, acme: Belongings) -> None:
    bad = bad_keys(house)
    for path, method, _ in protected(locked):
        for header in bad:
            response = ask(locked, method, address(path, acme.ids), headers=header)
            assert response.status_code == 401, (path, method, header)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert "acme" not in response.text
    assert is_as_before(locked, acme)


def test_no_route_answers_a_key_without_its_scope(house: House, locked: FastAPI, acme: Belongings) -> None:
    for path, method, scope in protected(locked):
        others = [other for other in ("read", "write", "admin") if other != scope]
        _, header = new_key(house, "acme", *others)
        response = ask(locked, method, address(path, acme.ids), headers=header)
        assert response.status_code == 403, (path, method)
        assert method == "HEAD" or response.json()["code"] == "insufficient-scope"
    assert is_as_before(locked, acme)


def mixtures(path: str, mine: dict[str, str], others: dict[str, str]) -> list[dict[str, str]]:
    """Return the ways to fill in an address so that one part of it at least is another's."""
    names = re.findall(r"{(\w+)}", path)
    return [
        {name: (others if theirs else mine)[name] for name, theirs in zip(names, chosen, strict=True)}
        for chosen in itertools.product((True, False), repeat=len(names))
        if any(chosen)
    ]


def test_what_is_anothers_is_answered_as_what_is_not_there(
    locked: FastAPI, acme: Belongings, zeta: Belongings
) -> None:
    nothing = {name: f"{text[:4]}{'0' * 32}" for name, text in zeta.ids.items()} | {"name": "nowhere"}
    before = kept(locked, zeta)
    assert {status for status, _ in before} == {200}
    walked: set[str] = set()
    for path, method, _ in protected(locked):
        pairs = zip(mixtures(path, acme.ids, zeta.ids), mixtures(path, acme.ids, nothing), strict=True)
        for pair in pairs:
            theirs, absent = (ask(locked, method, address(path, ids), headers=acme.header) for ids in pair)
            assert theirs.status_code == absent.status_code == 404, (path, method, pair)
            assert told(theirs) == told(absent)
            assert set(theirs.headers) == set(absent.headers)
            walked |= pair[0].keys()
    assert walked == zeta.ids.keys()
    # Nothing has become of it.
    assert is_as_before(locked, zeta)
    assert kept(locked, zeta) == before


def test_what_another_does_not_have_yet_or_any_more_is_not_there_either(
    locked: FastAPI, acme: Belongings, zeta: Belongings
) -> None:
    unmade, file = f"/models/{zeta.waiting['model_id']}", f"/artifacts/{zeta.artifact_id}"
    assert ask(locked, "DELETE", unmade, headers=zeta.header).status_code == 409
    assert ask(locked, "DELETE", unmade, headers=acme.header).status_code == 404
    made = f"/models/{zeta.job['model_id']}"
    assert ask(locked, "DELETE", made, headers=zeta.header).status_code == 204
    for method, path in (("GET", file), ("GET", f"{file}/manifest"), ("GET", f"{file}/reports")):
        assert ask(locked, method, path, headers=zeta.header).status_code == 410
        assert ask(locked, method, path, headers=acme.header).status_code == 404


def test_lists_and_counts_hold_only_what_is_ones_own(
    locked: FastAPI, acme: Belongings, zeta: Belongings
) -> None:
    theirs = {*zeta.ids.values(), zeta.job["id"], zeta.batch_id, "zeta"}
    for path, method, _ in protected(locked):
        if method == "GET" and "{" not in path:
            text = ask(locked, "GET", path, headers=acme.header).text
            assert not [one for one in theirs if one in text], path
    # Places may be so old.
    time.sleep(STALE_S)
    page = ask(locked, "GET", "/jobs", headers=acme.header).json()
    assert [job["id"] for job in page["jobs"]] == [acme.waiting["id"], acme.job["id"]]
    assert sum(page["counts"].values()) == 2
    assert page["jobs"][0]["queue"]["position"] == 0
    models = ask(locked, "GET", "/models", headers=acme.header).json()["models"]
    assert [model["id"] for model in models] == [acme.job["model_id"]]
    assert zeta.job["reused_from"] is None


def test_ids_of_another_in_a_query_find_what_ids_of_nothing_find(
    locked: FastAPI, acme: Belongings, zeta: Belongings
) -> None:
    nothing = "0" * 32
    queries = [
        ("/jobs?batch={}", zeta.batch_id, f"bat_{nothing}"),
        ("/jobs?label=site:{}", "zeta", "nothing"),
        ("/jobs?device={}", zeta.device, "nowhere"),
        ("/audit?key={}", zeta.key_id, f"key_{nothing}"),
    ]
    for form, theirs, absent in queries:
        found = [ask(locked, "GET", form.format(one), headers=acme.header).json() for one in (theirs, absent)]
        assert found[0] == found[1]
    # A page begins after any id: there is nothing to be learnt from one that is another's.
    for path, last in (
        ("/jobs", zeta.waiting["id"]),
        ("/models", zeta.job["model_id"]),
        ("/keys", zeta.key_id),
        ("/webhooks", zeta.webhook_id),
        (f"/webhooks/{acme.webhook_id}/deliveries", zeta.delivery_id),
        (f"/artifacts/{acme.artifact_id}/reports", zeta.report_id),
    ):
        page = ask(locked, "GET", f"{path}?page_token={page_token(last)}", headers=acme.header)
        assert page.status_code == 200
        assert not [one for one in (*zeta.ids.values(), "zeta") if one in page.text]


def test_the_log_tells_who_did_what(locked: FastAPI, acme: Belongings) -> None:
    ask(locked, "POST", f"/jobs/{acme.waiting['id']}/cancel", headers=acme.header)
    ask(locked, "POST", f"/jobs/{acme.waiting['id']}/cancel", headers=acme.header)
    found = ask(locked, "GET", "/audit", headers=acme.header).json()["entries"]
    device = ask(locked, "GET", f"/devices/{acme.device}", headers=acme.header).json()
    assert [(one["action"], one["target"], one["key_id"]) for one in found] == [
        ("job-cancelled", acme.waiting["id"], acme.key_id),
        ("batch-submitted", acme.batch_id, acme.key_id),
        ("job-submitted", acme.job["id"], acme.key_id),
        ("device-created", device["id"], acme.key_id),
        ("webhook-created", acme.webhook_id, acme.key_id),
    ]


def test_secrets_stand_nowhere_but_in_the_answer_that_makes_them(
    house: House, locked: FastAPI, acme: Belongings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = ask(locked, "POST", "/keys", json={"scopes": ["read", "write", "admin"]}, headers=acme.header)
    made = {"Authorization": f"Bearer {answer.json()['secret']}"}
    headers = [acme.header, made, *(header for header in bad_keys(house) if header)]
    texts = []
    walked = [(path, method) for path, method, _ in protected(locked) if method != "DELETE"]
    for path, method in walked:
        for header in headers:
            response = ask(locked, method, address(path, acme.ids), headers=header)
            texts.append(response.text + str(response.headers))
            # A secret in the wrong place is not repeated either.
            secret = header["Authorization"].removeprefix("Bearer ")
            texts.append(
                ask(locked, method, f"{address(path, acme.ids)}?state={secret}", headers=acme.header).text
            )
    asyncio.run(locked.state.gate.settle(at_once=True))
    with reading(house.engine) as connection:
        for table in metadata.sorted_tables:
            texts += [str(dict(row)) for row in connection.execute(select(table)).mappings()]
    # The client of this test writes down which addresses it asks.
    texts += [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    everything = "\n".join(texts)
    for header in headers:
        secret = header["Authorization"].removeprefix("Bearer ")
        if len(secret) > 20:
            # Neither as a whole nor the part that is to be guessed.
            assert secret[36:] not in everything


def test_what_a_key_may_do_is_in_the_description_of_each_route(app: FastAPI) -> None:
    scopes = {f"{method} {path}": scope for path, method, scope in protected(app)}
    assert scopes["POST /models"] == scopes["POST /models/batch"] == "write"
    assert scopes["POST /models/check"] == scopes["GET /artifacts/{artifact_id}"] == "read"
    assert scopes["GET /audit"] == scopes["DELETE /keys/{key_id}"] == "admin"
