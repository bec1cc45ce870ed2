"""A worker process from its start to its end, with plain functions for what it loads."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from service.db import reading, writing
from service.jobs import Job, State, add_job, get_job
from service.queue import claim_next
from service.settings import Settings
from service.tables import workers
from tests.service.making import scenario
from tests.service.process import ROOT, wait_until

MEASURING = """
import sys
from pathlib import Path
from assembler.measure import measure_device
from service.labour import run_worker
from service.settings import Settings
from tests.service.making import make_card

def load(settings):
    for step in measure_device(make_card()):
        pass
    raise RuntimeError("it was not stopped in time")

sys.exit(run_worker(Settings(data_dir=Path(sys.argv[1])), load, worker_id=sys.argv[2] or None))
"""
BUILDING = """
import sys
from pathlib import Path
from service.labour import run_worker
from service.settings import Settings
from tests.service.child import build
from tests.service.making import Building

settings = Settings(data_dir=Path(sys.argv[1]), beat_s=0.05)
sys.exit(run_worker(settings, lambda _: Building(build), worker_id=sys.argv[2] or None))
"""


@contextmanager
def working(
    program: str, settings: Settings, temporary: Path, worker: str
) -> Iterator[subprocess.Popen[bytes]]:
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(settings.data_dir), worker],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stderr.close()


def registered(engine: Engine) -> dict[str, bool]:
    with reading(engine) as connection:
        return {row.id: row.ready for row in connection.execute(select(workers))}


@pytest.mark.parametrize(("worker", "number"), [("wrk_1", "TERM"), ("", "TERM"), ("", "INT")])
def test_a_worker_that_is_stopped_while_it_measures_leaves_nothing_behind(
    engine: Engine, settings: Settings, tmp_path: Path, worker: str, number: str
) -> None:
    temporary, scratch = tmp_path / "temporary", settings.data_dir / "scratch"
    with working(MEASURING, settings, temporary, worker) as process:
        wait_until(lambda: list(scratch.glob("*/nnfactory-*/*.onnx")))
        assert list(registered(engine).values()) == [False]
        process.send_signal(signal.Signals[f"SIG{number}"])
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert list(temporary.iterdir()) == list(scratch.iterdir()) == []
    assert registered(engine) == {}


@pytest.mark.parametrize("worker", ["wrk_1", ""])
def test_a_worker_takes_jobs_until_it_is_stopped_gives_back_its_last_and_is_forgotten_then(
    engine: Engine, settings: Settings, tmp_path: Path, worker: str
) -> None:
    with writing(engine) as connection:
        quick, slow = (
            add_job(connection, wanted, digest=None, request_id="req_1", now=time.time()).id
            for wanted in (scenario(name="quick"), scenario(name="slow", limits={"size_mb": 2.0}))
        )

    def found(job_id: str) -> Job:
        with reading(engine) as connection:
            job = get_job(connection, job_id)
        assert job is not None
        return job

    with working(BUILDING, settings, tmp_path / "temporary", worker) as process:
        wait_until(lambda: found(slow).phase == "assembling")
        assert found(quick).state is State.SUCCEEDED
        (ready,) = registered(engine).values()
        assert ready
        process.terminate()
        assert process.wait(20) == 0
    assert registered(engine) == {}
    # Nobody waits for its lease: the next one may have it at once.
    assert (found(slow).state, found(slow).worker, found(slow).lease_until) == (State.QUEUED, None, None)
    with writing(engine) as connection:
        taken = claim_next(connection, "wrk_next", lease_s=10.0, now=time.time())
    assert taken is not None
    assert taken[0].id == slow


def test_a_worker_clears_away_what_a_killed_one_was_storing(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    left = settings.store_path / "ab" / ".new-x"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (0, 0))
    with working(BUILDING, settings, tmp_path / "temporary", "wrk_1"):
        wait_until(lambda: registered(engine) == {"wrk_1": True})
        assert not left.exists()


def test_a_supervised_worker_leaves_interrupts_to_its_supervisor_and_ends_with_it(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    with working(BUILDING, settings, tmp_path / "temporary", "wrk_1") as process:
        wait_until(lambda: registered(engine) == {"wrk_1": True})
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def test_a_worker_started_alone_buries_those_of_its_machine_that_are_dead(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    with working(BUILDING, settings, tmp_path / "temporary", "wrk_dead") as process:
        wait_until(lambda: registered(engine) == {"wrk_dead": True})
        process.kill()
        process.wait()
    with working(BUILDING, settings, tmp_path / "temporary", "") as process:
        wait_until(lambda: True in registered(engine).values() and "wrk_dead" not in registered(engine))
