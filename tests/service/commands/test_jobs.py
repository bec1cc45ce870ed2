"""Commands on jobs."""

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from tests.service.commands.running import OPTIONS, parsed

Run = Callable[..., Result]


def test_a_job_is_followed_from_its_id(ask: Run, tmp_path: Path) -> None:
    made = ask("models", "create", *OPTIONS, "--name", "slow", "--accuracy-min", "0.31", "--no-wait")
    job_id = made.stdout.strip()
    told = ask("jobs", "events", job_id)
    assert [line.split()[1] for line in told.stdout.splitlines()][-1] == "done"
    events = [json.loads(line) for line in ask("jobs", "events", job_id, "--json").stdout.splitlines()]
    assert events[-1]["state"] == "succeeded"
    job = parsed(ask("jobs", "get", job_id, "--wait", "--timeout", "20", "--json"))
    assert job["done"]
    for made_id in (job_id, job["model_id"], job["result"]["artifacts"][0]["id"]):
        file = tmp_path / made_id
        assert ask("models", "download", made_id, "-o", str(file)).stdout.strip() == str(file)
        assert file.stat().st_size == job["result"]["artifacts"][0]["bytes"]


def test_a_job_is_cancelled_and_cannot_be_cancelled_later(ask: Run) -> None:
    slow = (*OPTIONS, "--name", "slow", "--no-wait", "--accuracy-min")
    for group, floor in (("jobs", "0.41"), ("models", "0.42")):
        job_id = ask("models", "create", *slow, floor).stdout.strip()
        assert ask(group, "cancel", job_id).exit_code == 0
    done = parsed(ask("models", "create", *OPTIONS, "--json"))
    late = ask("jobs", "cancel", done["id"])
    assert late.exit_code == 1
    assert late.stderr.startswith("nnfactory: job-already-finished")
