"""Disks fill up: jobs say so, nothing half-written stays, and work goes on when there is room again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.audit import audit, orphans, settle
from tests.faults.clients import Ledger, scenario
from tests.faults.fleet import Fleet, fleet, wait_until
from tests.service.making import write_member
from tests.service.process import running

FILE_BYTES = 300_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root may mount a file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def filled(disk: Path, left_bytes: int) -> Iterator[None]:
    """Have a file system be full but for so many bytes."""
    room = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * max(0, room.f_bavail * room.f_frsize - left_bytes))
    try:
        yield
    finally:
        ballast.unlink()


def make(found: Fleet, number: int, **labels: str) -> dict[str, Any]:
    """Return the job of a scenario when it has ended."""
    wanted = scenario(number, **labels)
    answer = found.ask("POST", "/models", json=wanted, headers={"Prefer": "wait=20"})
    assert answer.is_success, answer.text
    job: dict[str, Any] = answer.json()
    return job


def test_a_full_store_fails_the_job_and_leaves_nothing_half_written(small_disk: Path) -> None:
    with fleet(workers=1, store=small_disk / "store", redis=False) as found:
        assert make(found, 1, bytes=str(FILE_BYTES))["state"] == "succeeded"
        with filled(small_disk, FILE_BYTES // 2):
            failed = make(found, 2, bytes=str(FILE_BYTES))
            assert failed["state"] == "failed"
            assert (failed["error"]["code"], failed["error"]["status"]) == ("storage-full", 507)
            assert failed["error"]["fault"] == "service"
            assert orphans(found) == []
        assert make(found, 3, bytes=str(FILE_BYTES))["state"] == "succeeded"
        settle(found)
        audit(found, Ledger())


def test_a_full_scratch_folder_fails_the_job_and_the_worker_goes_on(small_disk: Path) -> None:
    with fleet(workers=1, data=small_disk, redis=False) as found:
        (worker,) = found.workers
        assert worker.process is not None
        first = worker.process.pid
        assert make(found, 1, scratch=str(FILE_BYTES))["state"] == "succeeded"
        with filled(small_disk, FILE_BYTES // 2):
            failed = make(found, 2, scratch=str(FILE_BYTES))
            assert failed["state"] == "failed"
            assert (failed["error"]["code"], failed["error"]["status"]) == ("storage-full", 507)
            assert (failed["error"]["fault"], failed["error"]["retryable"]) == ("service", True)
            # What needs no room there is made all the while.
            assert make(found, 3)["state"] == "succeeded"
        assert make(found, 4, scratch=str(FILE_BYTES))["state"] == "succeeded"
        scratch = small_disk / worker.what / "scratch" / str(first)
        assert scratch.is_dir()
        assert list(scratch.iterdir()) == []
        assert (worker.alive, worker.process.pid) == (True, first)
        settle(found)
        audit(found, Ledger())


def test_a_full_disk_under_everything_is_said_so_and_got_over(small_disk: Path, tmp_path: Path) -> None:
    """Database and store on one small disk, as with the embedded defaults."""
    zoo = write_member(tmp_path / "zoo" / "clothes").parent
    with running(small_disk / "data", zoo) as house:
        house.wait_ready()
        accepted = []
        with filled(small_disk, 20_000):
            for number in range(60):
                answer = house.client.post("/models", json=scenario(number))
                assert answer.status_code in (202, 503), answer.text
                if answer.status_code == 503:
                    assert answer.json()["code"] in ("database-unavailable", "storage-unavailable")
                    assert "retry-after" in answer.headers
                    break
                accepted.append(answer.json()["id"])
            else:
                pytest.fail("the disk was never full")
            assert house.client.get("/healthz").status_code == 200
        wait_until(lambda: house.client.get("/readyz").status_code == 200, 60)
        after = house.client.post("/models", json=scenario(1000))
        assert after.status_code == 202
        for job in [*accepted, after.json()["id"]]:
            wait_until(lambda job=job: house.client.get(f"/jobs/{job}").json()["done"], 60)
        assert house.client.get(f"/jobs/{after.json()['id']}").json()["state"] == "succeeded"
