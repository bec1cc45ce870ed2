"""What the processes of a service write to the standard error, read back as programs would."""

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.keys import new_secret
from service.logs import Seldom, about, without_secrets
from tests.service.making import body, write_member
from tests.service.process import ROOT, House, running, wait_until

SCRIPT = """
import logging, threading, warnings
from service.logs import about, name_process, say, set_up_logs
set_up_logs()
set_up_logs()
name_process(worker="wrk_1")
log = logging.getLogger("service.place")
log.info("nobody reads this")
with about(request_id="req_1"):
    with about(job_id="job_1"):
        log.warning("it takes %d lines\\nlong", 2)
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("it failed")
log.error("another", extra={"worker": "wrk_2"})
say("all is well")
warnings.warn("this is old", DeprecationWarning)
thread = threading.Thread(target=lambda: [].pop(), name="lost")
thread.start()
thread.join()
raise KeyError("end")
"""


def run(script: str, **environ: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", script],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.stderr.splitlines()


def test_every_line_is_an_object_that_says_what_it_is_about() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in run(SCRIPT, NNF_LOG="json")]
    first, failed, another, said, warned, lost, end = lines
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    assert first == {
        "level": "WARNING",
        "logger": "service.place",
        "message": "it takes 2 lines\nlong",
        "request_id": "req_1",
        "job_id": "job_1",
        "worker": "wrk_1",
    }
    assert (failed["request_id"], failed["message"]) == ("req_1", "it failed")
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")
    assert "job_id" not in failed
    assert "request_id" not in another
    assert another["worker"] == "wrk_2"
    assert (said["level"], said["message"]) == ("INFO", "all is well")
    assert "this is old" in warned["message"]
    assert "IndexError" in lost["exception"]
    assert (end["level"], end["exception"].splitlines()[-1]) == ("CRITICAL", "KeyError: 'end'")


def test_without_a_setting_lines_are_for_people() -> None:
    lines = run(SCRIPT)
    assert "WARNING service.place: it takes 2 lines" in lines[0]
    assert "all is well" in lines
    assert not [line for line in lines if line.startswith("{")]


def test_that_a_server_is_away_is_told_once_in_a_while_and_without_its_trace() -> None:
    told: list[logging.LogRecord] = []
    clock = [0.0]
    place, engine = logging.Logger("service.place"), logging.Logger("docket.worker")
    for log in (place, engine):
        log.addHandler(handler := logging.NullHandler())
        handler.handle = lambda record: told.append(record) or True  # type: ignore[method-assign]
        log.addFilter(Seldom(lambda: clock[0]))

    def fail(error: Exception) -> None:
        try:
            raise error
        except Exception:
            place.exception("request %s failed", "req_1")

    for clock[0] in (0.0, 10.0, 29.0, 31.0):
        fail(OperationalError("SELECT 1", {}, Exception("no route\nto it")))
        engine.warning("Redis is unavailable")
    fail(ValueError("a fault"))
    fail(ValueError("a fault"))
    away = "request req_1 failed: OperationalError: (builtins.Exception) no route"
    assert [record.getMessage() for record in told] == [
        *(away, "Redis is unavailable") * 2,
        *("request req_1 failed",) * 2,
    ]
    assert [record.exc_info is not None for record in told] == [False] * 4 + [True] * 2


def test_what_a_line_is_about_ends_with_its_block(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), about(request_id="req_1"):
        raise KeyError
    logging.getLogger("service.place").warning("after")
    assert not hasattr(caplog.records[-1], "request_id")


@pytest.mark.parametrize(
    "words", ["postgresql+psycopg://nnf:{}@db:5432/nnf", "Authorization: Bearer {}", "{}"]
)
def test_secrets_are_hidden(words: str) -> None:
    key = new_secret("key_" + "0" * 32)
    hidden = without_secrets(f'a "{words.format(key)}" b')
    assert key[36:] not in hidden
    assert hidden.startswith('a "')
    assert hidden.endswith('" b')


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8000/jobs", "at 12:30, a@b", "redis://host:6379/0", "key_00"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return write_member(tmp_path / "zoo" / "clothes").parent


def ended(house: House) -> list[dict[str, Any]]:
    """End a service; return all it has said since its first line."""
    house.process.terminate()
    _, said = house.process.communicate(timeout=30)
    return [json.loads(line) for line in said.splitlines()]


def test_a_service_tells_which_request_and_job_a_line_is_about(
    tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNF_LOG", "json")
    monkeypatch.setenv("NNF_ACCESS_LOG", "on")
    with running(tmp_path / "data", zoo) as house:
        house.wait_ready()
        job = house.client.post("/models", json=body(name="fail")).json()
        wait_until(lambda: house.client.get(f"/jobs/{job['id']}").json()["done"])
        house.client.post("/models", json=body(name="crash"))
        wait_until(lambda: len(house.worker_pids()) == 0)
        wait_until(lambda: len(house.worker_pids()) == 1)
        lines = ended(house)
    (failed,) = [line for line in lines if line["logger"] == "service.worker"]
    assert (failed["job_id"], failed["level"]) == (job["id"], "ERROR")
    assert failed["worker"].startswith("wrk_")
    assert "it went wrong" in failed["exception"]
    submits = [line for line in lines if line["logger"] == "service.access" and line["route"] == "/models"]
    assert (submits[0]["method"], submits[0]["status"], submits[0]["tenant"]) == ("POST", 202, "default")
    assert submits[0]["request_id"] == failed["request_id"]
    assert submits[0]["duration_ms"] > 0
    (again,) = [line for line in lines if line["logger"] == "service.supervisor"]
    assert again["worker"] == failed["worker"]


def test_no_key_and_no_password_is_logged(tmp_path: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNF_LOG", "json")
    monkeypatch.setenv("NNF_ACCESS_LOG", "on")
    secret = new_secret("key_" + "0" * 32)
    with running(tmp_path / "data", zoo) as house:
        header = {"Authorization": f"Bearer {secret}"}
        house.client.get(f"/jobs/{secret}?state={secret}", headers=header)
        said = json.dumps(ended(house))
    assert "service.access" in said
    assert secret[36:] not in said
    words = ("from service.cli import app; app(['migrate'])",)
    lines = run(*words, NNF_LOG="json", NNF_DATABASE_URL="postgresql://nnf:hidden-word@127.0.0.1:1/nnf")
    assert [json.loads(line)["level"] for line in lines] == ["ERROR"]
    assert "127.0.0.1" in lines[0]
    assert "hidden-word" not in lines[0]
