import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.house import House
from service.keys import key_id_of
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import ask, new_key, with_auth

pytestmark = ON_BOTH_DATABASES

Header = dict[str, str]


@pytest.fixture
def locked(house: House) -> FastAPI:
    return create_app(with_auth(house))


@pytest.fixture
def admin(house: House) -> Header:
    return new_key(house, "acme", "admin")[1]


@pytest.fixture
def operator(house: House) -> Header:
    return new_key(house, "ops", "operator")[1]


def create(app: FastAPI, header: Header, **wanted: Any) -> httpx.Response:
    return ask(app, "POST", "/keys", json=wanted, headers=header)


def listed(app: FastAPI, header: Header) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(app, "GET", "/keys", headers=header).json()["keys"]
    return found


def test_a_key_is_made_used_read_and_revoked(locked: FastAPI, admin: Header) -> None:
    response = create(locked, admin, label="dock 3", expires_in_s=60)
    made = response.json()
    assert (response.status_code, response.headers["location"]) == (201, f"/keys/{made['id']}")
    assert response.headers["cache-control"] == "no-store"
    assert key_id_of(made["secret"]) == made["id"]
    assert (made["tenant"], made["scopes"], made["label"]) == ("acme", ["read", "write"], "dock 3")
    assert made["expires_at"] > made["created_at"]
    header = {"Authorization": f"Bearer {made.pop('secret')}"}
    assert ask(locked, "GET", "/jobs", headers=header).status_code == 200
    assert ask(locked, "GET", f"/keys/{made['id']}", headers=admin).json() == made
    assert made in listed(locked, admin)
    for _ in range(2):
        revoked = ask(locked, "DELETE", f"/keys/{made['id']}", headers=admin)
        assert (revoked.status_code, revoked.content) == (204, b"")
        # This process knows at once.
        assert ask(locked, "GET", "/jobs", headers=header).status_code == 401
    assert ask(locked, "GET", f"/keys/{made['id']}", headers=admin).json()["revoked_at"] is not None


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({"tenant": "Acme"}, "/tenant"),
        ({"tenant": "acme\n"}, "/tenant"),
        ({"tenant": 5}, "/tenant"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["everything"]}, "/scopes"),
        ({"scopes": "read"}, "/scopes"),
        ({"expires_in_s": 0}, "/expires_in_s"),
        ({"expires_in_s": "60"}, "/expires_in_s"),
        ({"expires_in_s": True}, "/expires_in_s"),
        ({"expires_in_s": 1e12}, "/expires_in_s"),
        ({"label": "x" * 201}, "/label"),
        ({"label": "a\x00"}, "/label"),
        ({"secret": "mine"}, "/secret"),
        ([], ""),
    ],
)
def test_a_bad_wish_is_refused_by_field(locked: FastAPI, admin: Header, wanted: Any, pointer: str) -> None:
    response = ask(locked, "POST", "/keys", json=wanted, headers=admin)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)
    assert "everything" not in response.text
    assert len(listed(locked, admin)) == 1


def test_an_admin_makes_keys_of_its_own_tenant_alone(locked: FastAPI, admin: Header) -> None:
    assert create(locked, admin, tenant="acme", scopes=["admin"]).status_code == 201
    for wanted in ({"tenant": "zeta"}, {"scopes": ["read", "operator"]}):
        response = create(locked, admin, **wanted)
        assert (response.status_code, response.json()["code"]) == (403, "insufficient-scope")
    assert {key["tenant"] for key in listed(locked, admin)} == {"acme"}


def test_an_operator_makes_sees_and_revokes_keys_of_all_tenants(
    locked: FastAPI, admin: Header, operator: Header
) -> None:
    made = create(locked, operator, tenant="zeta", scopes=["operator"]).json()
    assert made["tenant"] == "zeta"
    assert create(locked, operator).json()["tenant"] == "ops"
    assert {key["tenant"] for key in listed(locked, operator)} == {"acme", "ops", "zeta"}
    # It is good for nothing else.
    assert ask(locked, "GET", "/jobs", headers=operator).status_code == 403
    other = {"Authorization": f"Bearer {made['secret']}"}
    assert ask(locked, "DELETE", f"/keys/{made['id']}", headers=operator).status_code == 204
    assert create(locked, other).status_code == 401
    assert [key["tenant"] for key in listed(locked, admin)] == ["acme"]


def test_keys_are_listed_in_pages(house: House, locked: FastAPI, admin: Header) -> None:
    made = [new_key(house)[0] for _ in range(3)]
    first = ask(locked, "GET", "/keys?page_size=2", headers=admin).json()
    last = ask(locked, "GET", f"/keys?page_token={first['next_page_token']}", headers=admin).json()
    found = [key["id"] for key in first["keys"] + last["keys"]]
    assert found[:3] == made[::-1]
    assert (len(found), last["next_page_token"]) == (4, None)


def test_what_was_done_with_keys_is_in_the_audit_log(
    house: House, locked: FastAPI, admin: Header, operator: Header
) -> None:
    response = create(locked, admin)
    made = response.json()
    ask(locked, "DELETE", f"/keys/{made['id']}", headers=operator)
    time.sleep(0.002)
    create(locked, operator)
    own = ask(locked, "GET", "/audit", headers=admin).json()
    revoked, created = own["entries"]
    assert (created["action"], revoked["action"]) == ("key-created", "key-revoked")
    assert created["target"] == revoked["target"] == made["id"]
    assert created["request_id"] == response.headers["x-request-id"]
    assert created["address"] == "127.0.0.1"
    by_admin = ask(locked, "GET", f"/audit?key={created['key_id']}", headers=admin).json()["entries"]
    assert by_admin == [created]
    assert ask(locked, "GET", "/audit?action=key-revoked", headers=admin).json()["entries"] == [revoked]
    everything = ask(locked, "GET", "/audit?page_size=2", headers=operator).json()
    assert [one["tenant"] for one in everything["entries"]] == ["ops", "acme"]
    rest = ask(locked, "GET", f"/audit?page_token={everything['next_page_token']}", headers=operator).json()
    assert rest["entries"] == [created]


@pytest.mark.parametrize("query", ["action=x", "key=x", "page_size=0", "page_token=x"])
def test_a_bad_query_of_the_log_is_refused(locked: FastAPI, admin: Header, query: str) -> None:
    assert ask(locked, "GET", f"/audit?{query}", headers=admin).status_code == 400
