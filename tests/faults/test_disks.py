"""Disks fill up: jobs say so, nothing half-written stays, and work goes on when there is room again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.audit import audit, orphans, settle
from tests.faults.clients import Ledger, scenario
from tests.faults.fleet import fleet, wait_until
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


def test_a_full_store_fails_the_job_and_leaves_nothing_half_written(small_disk: Path) -> None:
    with fleet(workers=1, store=small_disk / "store", redis=False) as found:
        client = httpx.Client(base_url=found.url(), timeout=30)
        made = client.post("/models", json=scenario(1, bytes=str(FILE_BYTES)), headers={"Prefer": "wait=20"})
        assert made.json()["state"] == "succeeded"
        with filled(small_disk, FILE_BYTES // 2):
            failed = client.post(
                "/models", json=scenario(2, bytes=str(FILE_BYTES)), headers={"Prefer": "wait=20"}
            )
            assert failed.json()["state"] == "failed"
            assert failed.json()["error"]["code"] == "storage-full"
            assert failed.json()["error"]["fault"] == "service"
            assert orphans(found) == []
        again = client.post("/models", json=scenario(3, bytes=str(FILE_BYTES)), headers={"Prefer": "wait=20"})
        assert again.json()["state"] == "succeeded"
        settle(found)
        audit(found, Ledger())
        client.close()


def test_a_full_disk_under_everything_is_said_so_and_got_over(small_disk: Path, tmp_path: Path) -> None:
    """Database, store and scratch folder on one small disk, as with the embedded defaults."""
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
