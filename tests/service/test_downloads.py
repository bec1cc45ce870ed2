import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from service.house import House
from service.worker import Worker
from tests.service.making import BODY, ask


@pytest.fixture
def artifact(app: FastAPI, worker_with: Callable[[], Worker]) -> dict[str, Any]:
    posted = ask(app, "POST", "/models", json={**BODY, "name": '../"x\r\nSet-Cookie: a'.replace("\r\n", " ")})
    worker_with().work_once()
    found: dict[str, Any] = ask(app, "GET", posted.headers["location"]).json()["result"]["artifacts"][0]
    return found


def test_the_file_comes_with_everything_that_proves_it(app: FastAPI, artifact: dict[str, Any]) -> None:
    response = ask(app, "GET", f"/artifacts/{artifact['id']}")
    assert response.status_code == 200
    assert hashlib.sha256(response.content).hexdigest() == artifact["sha256"]
    assert len(response.content) == artifact["bytes"]
    assert response.headers["etag"] == f'"{artifact["sha256"]}"'
    digest = base64.b64encode(hashlib.sha256(response.content).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert response.headers["content-disposition"] == f'attachment; filename="{artifact["id"]}.onnx"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert {"private", "immutable"} <= set(response.headers["cache-control"].split(", "))
    assert response.headers["content-type"] == "application/octet-stream"


def test_head_says_the_same_without_the_file(app: FastAPI, artifact: dict[str, Any]) -> None:
    path = f"/artifacts/{artifact['id']}"
    whole, head = ask(app, "GET", path), ask(app, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    ignored = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in whole.headers.items() if k not in ignored
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_that_has_the_file_already_gets_nothing(
    app: FastAPI, artifact: dict[str, Any], method: str
) -> None:
    headers = {"if-none-match": f'"{artifact["sha256"]}"'}
    response = ask(app, method, f"/artifacts/{artifact['id']}", headers=headers)
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == headers["if-none-match"]
    other = ask(app, method, f"/artifacts/{artifact['id']}", headers={"if-none-match": '"0"'})
    assert other.status_code == 200


def test_the_manifest_stands_beside_the_file(app: FastAPI, artifact: dict[str, Any]) -> None:
    assert ask(app, "GET", f"/artifacts/{artifact['id']}/manifest").json() == {"classes": ["bag", "coat"]}


@pytest.mark.parametrize("harm", ["damage", "removal"])
def test_a_file_that_is_not_whole_is_never_delivered(
    app: FastAPI, house: House, artifact: dict[str, Any], harm: str
) -> None:
    (path,) = [path for path in house.settings.store_path.rglob("*") if path.is_file()]
    if harm == "damage":
        path.write_bytes(b"torn")
    else:
        path.unlink()
    response = ask(app, "GET", f"/artifacts/{artifact['id']}")
    assert (response.status_code, response.json()["code"]) == (503, "storage-unavailable")
    assert "retry-after" in response.headers
    head = ask(app, "HEAD", f"/artifacts/{artifact['id']}")
    assert (head.status_code, head.headers["retry-after"]) == (503, response.headers["retry-after"])
