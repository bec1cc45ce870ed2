from typing import Any

import pytest
from fastapi import FastAPI

from service.app import create_app
from service.audit import Actor
from service.auth import Caller, anyone
from service.gate import is_public
from service.house import House
from service.scopes import Scope
from tests.service.making import ask, new_key, with_auth


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
