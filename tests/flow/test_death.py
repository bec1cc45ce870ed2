"""The real service, killed in the middle of its work."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.service.process import House, wait_until

Start = Callable[[Path], AbstractContextManager[House]]
READY_S = 60.0


@pytest.fixture
def data_dir(profiled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(profiled, tmp_path / "data"))


def submit_many(house: House, count: int = 4) -> list[str]:
    jobs = []
    for number in range(count):
        limits = {"size_mb": 0.4 + 0.01 * number}
        task = {"kind": "classification", "classes": ["Sandal", "Pullover", "Coat"]}
        jobs.append(house.client.post("/models", json={"task": task, "limits": limits}).json()["id"])
    return jobs


def read(house: House, job: str, wait_s: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = house.client.get(f"/jobs/{job}?wait={wait_s}").json()
    return found


def finish(house: House, jobs: list[str]) -> None:
    """Wait for all jobs, and check that each delivers a whole file."""
    for job in jobs:
        ended = read(house, job, wait_s=30)
        ended = ended if ended["done"] else read(house, job, wait_s=30)
        assert ended["state"] == "succeeded", ended
        artifact = ended["result"]["artifacts"][0]
        assert len(house.client.get(f"/artifacts/{artifact['id']}").content) == artifact["bytes"]


def test_jobs_queued_and_running_when_everything_is_killed_are_finished_after_the_next_start(
    data_dir: Path, start: Start
) -> None:
    with start(data_dir) as house:
        house.wait_ready(READY_S)
        jobs = submit_many(house)
        wait_until(lambda: read(house, jobs[0])["state"] == "running")
        house.kill_everything()
    began = time.monotonic()
    with start(data_dir) as house:
        assert house.client.get("/healthz").status_code == 200
        house.wait_ready(READY_S)
        ready_s = time.monotonic() - began
        finish(house, jobs)
        assert read(house, jobs[0])["attempt"] == 2
    assert ready_s < 30


def test_a_killed_worker_is_replaced_and_no_job_is_lost(data_dir: Path, start: Start) -> None:
    with start(data_dir) as house:
        house.wait_ready(READY_S)
        jobs = submit_many(house)
        wait_until(lambda: read(house, jobs[0])["state"] == "running")
        for worker in house.worker_pids():
            os.kill(worker, signal.SIGKILL)
        assert house.client.get("/healthz").status_code == 200
        finish(house, jobs)
