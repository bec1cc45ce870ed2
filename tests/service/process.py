"""A whole service in processes of its own, with a worker whose models are made by a plain function.

``python -m tests.service.process serve DATA_DIR ZOO`` and ``... worker DATA_DIR ZOO --worker-id ID``.
The scenario's name says what happens to it: ``slow`` takes a while, ``crash`` kills its worker.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from assembler.artifact import Assembly
from assembler.scenario import Scenario
from service.outcome import exit_code
from service.labour import run_worker
from service.server import serve
from service.settings import Settings
from service.worker import Builder, Step
from supernet.errors import CheckpointDamaged
from tests.service.making import Begun, Building, digest_of, make_assembly

ROOT = Path(__file__).parents[2]
MODULE = "tests.service.process"


def build(scenario: Scenario) -> Iterator[Step | Assembly]:
    yield Begun("assembling")
    if scenario.name == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if scenario.name == "slow":
        time.sleep(2.0)
    yield Begun("compiling")
    yield make_assembly(digest_of(scenario).encode())


def load(settings: Settings) -> Builder:
    if (settings.data_dir / "unusable").exists():
        raise CheckpointDamaged(settings.data_dir, "its weights are not there")
    return Building(build)


class House:
    """A running service: its process, its address, and what it said."""

    def __init__(self, command: list[str], data_dir: Path) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        found = re.search(r"http://\S+", self.process.stderr.readline())
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
    with started([MODULE, "serve", str(data_dir), str(zoo)], data_dir) as house:
        yield house


@contextmanager
def started(command: list[str], data_dir: Path) -> Iterator[House]:
    """Run a service, and end it."""
    house = House(command, data_dir)
    try:
        yield house
    finally:
        house.close()


def wait_until(condition: object, timeout_s: float = 30.0) -> None:
    """Wait until a function returns something true."""
    assert callable(condition)
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.02)


def main() -> None:
    what, data_dir, zoo, *more = sys.argv[1:]
    settings = Settings(data_dir=Path(data_dir), supernets=(Path(zoo),), beat_s=0.2)
    if what == "serve":
        command = (sys.executable, "-m", MODULE, "worker", data_dir, zoo)
        sys.exit(exit_code(lambda: serve(settings, "127.0.0.1", 0, command)))
    sys.exit(exit_code(lambda: run_worker(settings, load, worker_id=more[1])))


if __name__ == "__main__":
    main()
