import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.types import Message

from assembler.strict import MAX_DEPTH
from service.app import PROBLEM
from service.db import reading, writing
from service.errors import CODES
from service.house import House
from service.jobs import add_event
from service.tables import jobs
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, ask, raw, take_away

pytestmark = ON_BOTH_DATABASES

JSON = {"content-type": "application/json"}
MEMBERS = {
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "request_id",
    "retryable",
    "fault",
    "errors",
}


def problem_of(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    found: dict[str, Any] = response.json()
    assert set(found) >= MEMBERS
    assert (found["status"], found["code"], found["type"]) == (status, code, f"/problems/{code}")
    assert found["request_id"] == response.headers["x-request-id"]
    return found


def stored_jobs(house: House) -> int:
    with reading(house.engine) as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


BAD_BODIES: list[tuple[bytes, int, str, str | None]] = [
    (b"", 400, "malformed-json", None),
    (b"{", 400, "malformed-json", None),
    (b"\xff\xfe\x00", 400, "malformed-json", None),
    (b'{"limits": {"latency_ms": NaN}}', 400, "malformed-json", "/limits/latency_ms"),
    (b'{"limits": {"latency_ms": Infinity}}', 400, "malformed-json", "/limits/latency_ms"),
    (b'{"limits": {"latency_ms": -Infinity}}', 400, "malformed-json", "/limits/latency_ms"),
    (b"NaN", 400, "malformed-json", ""),
    (b'{"task": {"classes": ["a\x00"]}}', 400, "malformed-json", "/task/classes/0"),
    (b'{"limits": {"size_mb": 1, "size_mb": 2}}', 400, "malformed-json", "/limits/size_mb"),
    (b"[" * 100_000, 400, "malformed-json", "/0" * MAX_DEPTH),
    (b'{"task":' * 100_000, 400, "malformed-json", "/task" * MAX_DEPTH),
    (b"[" * 100_000 + b"]" * 100_000, 400, "malformed-json", "/0" * MAX_DEPTH),
    (b"[]", 422, "scenario-invalid", ""),
    (raw(task={"kind": "classification", "classes": ["coats"]}), 422, "unknown-class", "/task/classes/0"),
    (
        raw(task={"kind": "classification", "classes": ["bag", "bag"]}),
        422,
        "scenario-invalid",
        "/task/classes/1",
    ),
    (
        raw(task={"kind": "classification", "classes": ["x" * 1_000_000]}),
        422,
        "scenario-invalid",
        "/task/classes/0",
    ),
    (raw(task={"kind": "classification", "classes": ["a\x00"]}), 422, "scenario-invalid", "/task/classes/0"),
    (raw(task={"kind": "classification", "classes": ["\ud800"]}), 422, "scenario-invalid", "/task/classes/0"),
    (raw(task={"kind": "classification", "classes": []}), 422, "scenario-invalid", "/task/classes"),
    (raw(task={"kind": "detection", "classes": ["bag"]}), 422, "scenario-invalid", "/task/kind"),
    (raw(device="toaster"), 422, "unknown-device", "/device"),
    (raw(limits={}), 422, "no-limits", "/limits"),
    (raw(limits=None), 422, "no-limits", "/limits"),
    (raw(limits={"latency_ms": -1}), 422, "scenario-invalid", "/limits/latency_ms"),
    (raw(limits={"latency_ms": True}), 422, "scenario-invalid", "/limits/latency_ms"),
    (raw(limits={"latency_ms": "1"}), 422, "scenario-invalid", "/limits/latency_ms"),
    (raw(limits={"latency_ms": 10**400}), 422, "scenario-invalid", "/limits/latency_ms"),
    (raw(limits={"latency_ms": 1, "watts": 2}), 422, "scenario-invalid", "/limits/watts"),
    (raw(format="tflite"), 422, "unsupported-format", "/format"),
    (raw(precision="int4"), 422, "unsupported-format", "/precision"),
    (raw(supernet="coats"), 422, "scenario-invalid", "/supernet"),
    (raw(nonsense=1), 422, "scenario-invalid", "/nonsense"),
]


@pytest.mark.parametrize("path", ["/models", "/models/check"])
@pytest.mark.parametrize(("content", "status", "code", "where"), BAD_BODIES)
def test_a_bad_scenario_is_refused_by_field_and_nothing_is_stored(
    app: FastAPI, house: House, path: str, content: bytes, status: int, code: str, where: str | None
) -> None:
    response = ask(app, "POST", path, content=content, headers=JSON)
    found = problem_of(response, status, code)
    assert found["fault"] == "user"
    assert [error["pointer"] for error in found["errors"]] == ([] if where is None else [where])
    assert len(response.content) < 3000
    assert stored_jobs(house) == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(app: FastAPI, house: House, chunked: bool) -> None:
    size = house.settings.body_limit_bytes + 1

    async def chunks() -> Any:
        for _ in range(size // 65536 + 1):
            yield b" " * 65536

    content = chunks() if chunked else b" " * size
    problem_of(ask(app, "POST", "/models", content=content, headers=JSON), 413, "body-too-large")
    assert stored_jobs(house) == 0


def test_a_body_of_another_type_is_refused(app: FastAPI, house: House) -> None:
    response = ask(app, "POST", "/models", content=raw(), headers={"content-type": "text/xml"})
    problem_of(response, 415, "unsupported-media-type")
    assert stored_jobs(house) == 0


@pytest.mark.parametrize("path", ["/models", "/jobs", "/supernets", "/tasks", "/devices", "/devices/local"])
def test_a_client_that_takes_no_json_is_refused(app: FastAPI, path: str) -> None:
    problem_of(ask(app, "GET", path, headers={"accept": "image/png"}), 406, "not-acceptable")


def test_of_several_lines_of_accept_all_count(app: FastAPI) -> None:
    lines = [("accept", "text/html"), ("accept", "application/json")]
    assert ask(app, "GET", "/jobs", headers=lines).status_code == 200


def test_a_client_that_takes_no_stream_of_events_is_refused(app: FastAPI) -> None:
    job = ask(app, "POST", "/models", content=raw(), headers=JSON).json()
    refused = ask(app, "GET", job["links"]["events"], headers={"accept": "application/json"})
    problem_of(refused, 406, "not-acceptable")


def test_a_client_that_leaves_in_the_midst_of_a_stream_is_no_error(
    app: FastAPI, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    job = ask(app, "POST", "/models", content=raw(), headers=JSON).json()
    with writing(house.engine) as connection:
        for number in range(50):
            add_event(connection, job["id"], "progress", {"progress": number / 50}, now=time.time())
    path = job["links"]["events"]

    async def leave_early() -> list[Message]:
        answered: list[Message] = []
        has_enough = asyncio.Event()

        async def receive() -> Message:
            await has_enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answered.append(message)
            if len(answered) == 3:
                # By then, as much waits for the client as may.
                await asyncio.sleep(0.05)
                has_enough.set()
                await asyncio.Event().wait()

        await app(
            {
                **{"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": ""},
                **{"query_string": b"", "headers": [], "client": None, "scheme": "http"},
            },
            receive,
            send,
        )
        await house.database.leave_loop()
        return answered

    with caplog.at_level("INFO"):
        answered = asyncio.run(leave_early())
    assert answered[0]["status"] == 200
    assert len(answered) == 3
    assert {record.levelname for record in caplog.records} <= {"INFO"}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/models/",
        "/jobs/job_" + "0" * 32,
        "/jobs/%00",
        "/jobs/../etc",
        "/models/mdl_" + "0" * 32,
        "/models/x",
        "/artifacts/art_" + "0" * 32,
        "/artifacts/..%2f..%2fetc%2fpasswd",
        "/artifacts/x/manifest",
        "/devices/toaster",
        "/problems/nothing",
        "/docs",
    ],
)
def test_what_is_not_there_is_not_found(app: FastAPI, path: str) -> None:
    problem_of(ask(app, "GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("GET", "/models/nope", "model"),
        ("DELETE", "/models/nope", "model"),
        ("GET", "/jobs/nope", "job"),
        ("GET", "/jobs/%00?wait=1", "job"),
        ("POST", "/jobs/nope/cancel", "job"),
        ("GET", "/jobs/nope/events", "job"),
        ("HEAD", "/artifacts/nope", "artifact"),
        ("GET", "/artifacts/art_" + "0" * 32 + "/reports/nope", "report"),
        ("POST", "/webhooks/nope/deliveries/nope/replay", "webhook"),
        ("GET", "/keys/nope", "key"),
    ],
)
def test_what_can_be_no_id_is_told_to_be_of_nothing_that_is_there(
    app: FastAPI, method: str, path: str, what: str
) -> None:
    response = ask(app, method, path)
    assert response.status_code == 404
    if method != "HEAD":
        assert problem_of(response, 404, "not-found")["detail"] == f"there is no such {what}"


@pytest.mark.parametrize("path", ["/nothing", "/models/", "/models/a/b", "/jobs/nope/nothing", "/docs"])
def test_another_address_is_told_to_hold_nothing(app: FastAPI, path: str) -> None:
    assert ask(app, "GET", path).json()["detail"] == CODES["not-found"].meaning


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/models", "GET, POST"),
        ("PUT", "/models/check", "POST"),
        ("POST", "/jobs", "GET"),
        ("POST", "/artifacts/art_" + "0" * 32, "GET, HEAD"),
        ("GET", "/models/check", "POST"),
        ("PATCH", "/healthz", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_refused_with_those_that_are(
    app: FastAPI, method: str, path: str, allow: str
) -> None:
    response = ask(app, method, path)
    problem_of(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/jobs?page_size=0", "bad-query"),
        ("/jobs?state=lost", "bad-query"),
        ("/jobs?page_token=x", "bad-page-token"),
        ("/models?page_token=x", "bad-page-token"),
        (f"/jobs/job_{'0' * 32}?wait=soon", "bad-query"),
    ],
)
def test_a_bad_query_is_refused(app: FastAPI, path: str, code: str) -> None:
    problem_of(ask(app, "GET", path), 400, code)


def test_a_bad_preference_is_refused_before_anything_is_stored(app: FastAPI, house: House) -> None:
    response = ask(app, "POST", "/models", content=raw(), headers={**JSON, "prefer": "wait=long"})
    problem_of(response, 400, "bad-header")
    assert stored_jobs(house) == 0


def test_a_check_on_a_device_that_is_not_measured_yet_may_be_tried_again(app: FastAPI) -> None:
    response = ask(app, "POST", "/models/check", json=BODY)
    found = problem_of(response, 503, "not-ready")
    assert (found["retryable"], found["fault"]) == (True, "service")
    assert int(response.headers["retry-after"]) > 0


def test_a_database_that_cannot_be_reached_is_said_so(app: FastAPI, house: House) -> None:
    take_away(house)
    response = ask(app, "GET", "/jobs")
    found = problem_of(response, 503, "database-unavailable")
    assert found["retryable"]
    assert "retry-after" in response.headers


def test_what_nobody_foresaw_is_an_internal_problem_without_details(app: FastAPI) -> None:
    async def fail() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/fail", fail)
    response = ask(app, "GET", "/fail")
    problem_of(response, 500, "internal")
    assert "secret" not in response.text


def test_every_code_has_its_page(app: FastAPI) -> None:
    for code, known in CODES.items():
        found = ask(app, "GET", f"/problems/{code}").json()
        assert (found["code"], found["status"], found["retryable"]) == (code, known.status, known.retryable)


def test_the_description_of_the_interface_names_every_route_and_the_shape_of_errors(app: FastAPI) -> None:
    schema = ask(app, "GET", "/openapi.json").json()
    assert set(schema["paths"]) == {
        "/models",
        "/models/batch",
        "/models/check",
        "/models/pareto",
        "/models/{model_id}",
        "/jobs",
        "/jobs/{job_id}",
        "/jobs/{job_id}/cancel",
        "/jobs/{job_id}/events",
        "/artifacts/{artifact_id}",
        "/artifacts/{artifact_id}/manifest",
        "/artifacts/{artifact_id}/signature",
        "/signing-key",
        "/artifacts/{artifact_id}/reports",
        "/artifacts/{artifact_id}/reports/{report_id}",
        "/webhooks",
        "/webhooks/{webhook_id}",
        "/webhooks/{webhook_id}/deliveries",
        "/webhooks/{webhook_id}/enable",
        "/webhooks/{webhook_id}/rotate",
        "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
        "/supernets",
        "/supernets/rescan",
        "/tasks",
        "/devices",
        "/devices/{name}",
        "/devices/{name}/profiles",
        "/keys",
        "/keys/{key_id}",
        "/audit",
        "/healthz",
        "/readyz",
        "/metrics",
        "/problems/{code}",
        "/",
    }
    known = schema["components"]["schemas"]
    assert set(known["Scenario"]["required"]) == {"task", "limits"}
    assert known["Survey"]["required"] == ["task"]
    assert set(known["Problem"]["required"]) == MEMBERS
    references = {
        part.split('"')[0] for part in str(schema).replace("'", '"').split("#/components/schemas/")[1:]
    }
    assert references <= set(known)


def test_the_http_process_never_loads_torch() -> None:
    probe = "import sys, service.server; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", probe], cwd=root, env=dict(os.environ)).returncode == 0
