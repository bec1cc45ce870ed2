"""Waiting for a job in a terminal."""

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from typer.testing import Result

from tests.commands import COMMAND, known
from tests.service.commands.running import OPTIONS, parsed, run
from tests.service.process import House, wait_until
from tests.service.rude import answer, made_job, serving

Run = Callable[..., Result]


def test_ctrl_c_cancels_the_job(served: House) -> None:
    url = str(served.client.base_url)
    command = [*COMMAND, "models", "create", *OPTIONS, "--name", "slow", "--label", "stop=me", "--url", url]
    process = subprocess.Popen(
        [*command, "--accuracy-min", "0.71"],
        env=known(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def job() -> dict[str, Any] | None:
        found = served.client.get("/jobs?label=stop:me").json()["jobs"]
        return found[0] if found and found[0]["phase"] == "assembling" else None

    wait_until(job)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert "is cancelled" in err
    assert err.count("\n") == 1
    wait_until(lambda: served.client.get("/jobs?label=stop:me").json()["jobs"][0]["state"] == "cancelled")


def test_a_job_that_takes_too_long_is_cancelled(ask: Run) -> None:
    late = ask(
        "models", "create", *OPTIONS, "--name", "slow", "--accuracy-min", "0.51", "--timeout", "0.2", "--json"
    )
    assert late.exit_code == 5
    assert late.stderr.endswith("and is cancelled\n")
    assert late.stdout == ""
    job_id = late.stderr.split()[1]
    assert parsed(ask("jobs", "get", job_id, "--wait", "--json"))["state"] == "cancelled"


def test_a_job_that_is_infeasible_says_what_comes_nearest() -> None:
    figures = {"latency_ms": 0.5, "memory_mb": 1.0, "size_mb": 0.1, "accuracy": 0.9}
    diagnosis = {
        "binding": ["latency_ms"],
        "nearest": [{"change": {"/limits/latency_ms": 0.31}, "predicted": figures}],
    }
    error = {"code": "scenario-infeasible", "detail": "no model meets latency_ms", "diagnosis": diagnosis}
    told = {"job_id": "job_1", "at": "2026-01-02T03:04:05.678Z", "state": "failed"}
    stream = f"event: done\nid: 1\ndata: {json.dumps(told)}\n\n".encode()
    answers = (
        answer(202, made_job("queued")),
        answer(body=stream, Content_Type="text/event-stream"),
        answer(body=made_job("failed", error=error)),
    )
    with serving(*answers, *answers) as rude:
        failed = run(rude.url, "models", "create", *OPTIONS)
        as_json = run(rude.url, "models", "create", *OPTIONS, "--json")
    assert (failed.exit_code, as_json.exit_code) == (4, 4)
    assert json.loads(as_json.stdout)["error"] == error
    assert "/limits/latency_ms = 0.31" in failed.stdout
    assert failed.stderr == "nnfactory: job_1 failed: scenario-infeasible: no model meets latency_ms\n"
