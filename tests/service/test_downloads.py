import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from service.house import House
from service.store import TICK_S
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, Building, ask, build_both
from tests.service.test_app import problem_of

pytestmark = ON_BOTH_DATABASES


def test_a_bundle_comes_as_a_zip(app: FastAPI, worker_with: Callable[..., Worker]) -> None:
    posted = ask(app, "POST", "/models", json=BODY)
    worker_with(Building(build_both)).work_once()
    model, bundle = ask(app, "GET", posted.headers["location"]).json()["result"]["artifacts"]
    assert (model["kind"], bundle["kind"], bundle["format"]) == ("model", "bundle", "zip")
    for method in ("GET", "HEAD"):
        response = ask(app, method, f"/artifacts/{bundle['id']}")
        assert response.headers["content-type"] == "application/zip"
        assert response.headers["content-disposition"] == f'attachment; filename="{bundle["id"]}.zip"'
        assert response.headers["etag"] == f'"{bundle["sha256"]}"'
        assert response.headers["content-length"] == str(bundle["bytes"])
    part = ask(app, "GET", f"/artifacts/{bundle['id']}", headers={"range": "bytes=0-2"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"zip", "application/zip")
    assert ask(app, "GET", f"/artifacts/{bundle['id']}/manifest").json() == {"files": []}


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
    assert response.headers["content-length"] == str(artifact["bytes"])
    assert response.headers["accept-ranges"] == "bytes"


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
    assert {"cache-control", "repr-digest"} <= set(response.headers)
    assert not {"content-range", "content-type", "content-disposition"} & set(response.headers)
    other = ask(app, method, f"/artifacts/{artifact['id']}", headers={"if-none-match": '"0"'})
    assert other.status_code == 200


def get(app: FastAPI, artifact: dict[str, Any], method: str = "GET", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(app, method, f"/artifacts/{artifact['id']}", headers=named)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("0-0", 0, 0), ("10-19", 10, 19), ("60-", 60, 70), ("-5", 66, 70), ("9-999", 9, 70)],
)
def test_a_part_of_the_file_comes_with_its_place(
    app: FastAPI, artifact: dict[str, Any], text: str, first: int, last: int
) -> None:
    assert artifact["bytes"] == 71
    whole = get(app, artifact)
    part = get(app, artifact, range=f"bytes={text}")
    assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
    assert part.headers["content-range"] == f"bytes {first}-{last}/71"
    assert part.headers["content-length"] == str(last + 1 - first)
    differ = {"content-range", "content-length", "x-request-id"}
    kept = [{k: v for k, v in one.headers.items() if k not in differ} for one in (part, whole)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("text", ["bytes=0-1,4-5", "bytes=5-4", "items=0-1", "bytes=x"])
def test_what_is_not_one_range_gets_the_whole_file(app: FastAPI, artifact: dict[str, Any], text: str) -> None:
    found = get(app, artifact, range=text)
    assert (found.status_code, len(found.content)) == (200, artifact["bytes"])
    assert "content-range" not in found.headers


@pytest.mark.parametrize("text", ["71-", "71-80", "-0"])
def test_a_range_beyond_the_file_is_refused_with_its_length(
    app: FastAPI, artifact: dict[str, Any], text: str
) -> None:
    found = get(app, artifact, range=f"bytes={text}")
    assert problem_of(found, 416, "range-not-satisfiable")["fault"] == "user"
    assert found.headers["content-range"] == "bytes */71"
    assert "immutable" not in found.headers.get("cache-control", "")


def test_ranges_are_for_get_alone(app: FastAPI, artifact: dict[str, Any]) -> None:
    for text in ("bytes=0-1", "bytes=90-"):
        head = get(app, artifact, "HEAD", range=text)
        assert (head.status_code, head.headers["content-length"]) == (200, str(artifact["bytes"]))
        assert "content-range" not in head.headers


def test_a_part_of_another_file_is_not_added_to(app: FastAPI, artifact: dict[str, Any]) -> None:
    tag = f'"{artifact["sha256"]}"'
    assert get(app, artifact, range="bytes=5-", if_range=tag).status_code == 206
    for other in ('"0"', f"W/{tag}", "Fri, 31 Dec 9999 23:59:59 GMT"):
        found = get(app, artifact, range="bytes=5-", if_range=other)
        assert (found.status_code, len(found.content)) == (200, artifact["bytes"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_are_looked_at_in_their_order(app: FastAPI, artifact: dict[str, Any], method: str) -> None:
    tag = f'"{artifact["sha256"]}"'
    assert get(app, artifact, method, if_match=tag).status_code == 200
    failed = get(app, artifact, method, if_match='"0"', if_none_match=tag, range="bytes=90-")
    assert failed.status_code == 412
    if method == "GET":
        problem_of(failed, 412, "precondition-failed")
    for text in ("bytes=0-1", "bytes=90-"):
        known = get(app, artifact, method, if_match=tag, if_none_match=tag, range=text, if_range=tag)
        assert (known.status_code, known.content) == (304, b"")


def test_times_of_change_are_no_conditions_where_none_is_told(app: FastAPI, artifact: dict[str, Any]) -> None:
    found = get(app, artifact, if_modified_since="Fri, 31 Dec 9999 23:59:59 GMT")
    assert (found.status_code, "last-modified" in found.headers) == (200, False)
    assert get(app, artifact, if_unmodified_since="Sat, 01 Jan 2000 00:00:00 GMT").status_code == 200


def test_the_description_tells_all_answers_and_their_headers(app: FastAPI, artifact: dict[str, Any]) -> None:
    tag = f'"{artifact["sha256"]}"'
    asked: tuple[dict[str, str], ...] = (
        {},
        {"range": "bytes=0-1", "if_range": tag},
        {"if_none_match": tag},
        {"if_match": '"0"'},
        {"range": "bytes=90-"},
    )
    schema = ask(app, "GET", "/openapi.json").json()
    for method in ("GET", "HEAD"):
        told = schema["paths"]["/artifacts/{artifact_id}"][method.lower()]
        answers = [get(app, artifact, method, **headers) for headers in asked]
        assert {str(one.status_code) for one in answers} | {"default", "401", "403", "410", "429"} == set(
            told["responses"]
        )
        for one in answers:
            described = told["responses"][str(one.status_code)]
            assert {name.lower() for name in described.get("headers", {})} <= set(one.headers)
            kinds = {one.headers["content-type"]} if one.content else set()
            assert kinds <= set(described.get("content", {}))
        parameters = {one["name"].lower() for one in told["parameters"] if one["in"] == "header"}
        assert parameters == {"if-match", "if-none-match"} | (
            {"range", "if-range"} if method == "GET" else set()
        )


def test_the_manifest_stands_beside_the_file(app: FastAPI, artifact: dict[str, Any]) -> None:
    assert ask(app, "GET", f"/artifacts/{artifact['id']}/manifest").json() == {"classes": ["bag", "coat"]}


@pytest.mark.parametrize("delivered", [False, True])
@pytest.mark.parametrize("harm", ["damage", "same length", "removal"])
def test_a_file_that_is_not_whole_is_never_delivered(
    app: FastAPI, house: House, artifact: dict[str, Any], harm: str, delivered: bool
) -> None:
    (path,) = [path for path in house.settings.store_path.rglob("*") if path.is_file()]
    if delivered:
        time.sleep(2 * TICK_S)
        assert get(app, artifact).status_code == 200
    if harm == "damage":
        path.write_bytes(b"torn")
    elif harm == "same length":
        path.write_bytes(b"x" * artifact["bytes"])
    else:
        path.unlink()
    response = ask(app, "GET", f"/artifacts/{artifact['id']}")
    assert (response.status_code, response.json()["code"]) == (503, "storage-unavailable")
    assert "retry-after" in response.headers
    assert get(app, artifact, range="bytes=0-1").status_code == 503
    head = ask(app, "HEAD", f"/artifacts/{artifact['id']}")
    assert (head.status_code, head.headers["retry-after"]) == (503, response.headers["retry-after"])
