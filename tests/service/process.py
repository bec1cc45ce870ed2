"""A whole service in processes of its own, driven over a real socket."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


class House:
    """A running service: its process, its address, and what it said."""

    def __init__(self, command: list[str], data_dir: Path) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        found = re.search(r"http://[^\s\"]+", self.process.stderr.readline())
        self.client = httpx.Client(base_url=found.group() if found else "http://nowhere", timeout=40)

    def worker_pids(self) -> list[int]:
        """Return the process numbers of the workers that live."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"worker" in words and str(self.data_dir).encode() in words:
                found.append(int(path.parent.name))
        return found

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until a worker is ready."""
        wait_until(lambda: self.client.get("/readyz").status_code == 200, timeout_s)

    def kill_everything(self) -> None:
        """Kill the service and its workers as a power cut would."""
        for pid in [self.process.pid, *self.worker_pids()]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End what still runs."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill_everything()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def running(data_dir: Path, zoo: Path) -> Iterator[House]:
    """Run a service whose models are made by a plain function."""
    with started(["tests.service.child", "serve", str(data_dir), str(zoo)], data_dir) as house:
        yield house


@contextmanager
def started(command: list[str], data_dir: Path) -> Iterator[House]:
    """Run a service, and end it."""
    house = House(command, data_dir)
    try:
        yield house
    finally:
        house.close()


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until a function returns something true."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)
