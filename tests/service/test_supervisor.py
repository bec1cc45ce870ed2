import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from service.db import reading, writing
from service.jobs import Job, State, add_job, get_job
from service.queue import add_worker, claim_next
from service.supervisor import Supervisor
from service.tables import workers
from tests.service.making import scenario
from tests.service.process import wait_until

# Notes its id and behaves as the second argument says.
CHILD = """
import sys, time
from pathlib import Path
notes, behaviour, _, worker, *again = sys.argv[1:]
with Path(notes).open("a") as file:
    file.write("".join([worker, *again]) + "\\n")
if behaviour == "crash":
    sys.exit(9)
if behaviour == "unusable":
    sys.exit(2)
sys.stdin.read()
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def supervise(
    engine: Engine, notes: Path, behaviour: str, ended: threading.Event | None = None
) -> Supervisor:
    command = (sys.executable, "-c", CHILD, str(notes), behaviour)
    supervisor = Supervisor(engine, command, (ended or threading.Event()).set)
    supervisor.start()
    return supervisor


def started(notes: Path) -> list[str]:
    return notes.read_text().split() if notes.exists() else []


def test_a_worker_that_ends_is_started_again_under_a_new_id_after_growing_pauses(
    engine: Engine, notes: Path
) -> None:
    supervisor = supervise(engine, notes, "crash")
    began = time.monotonic()
    wait_until(lambda: len(started(notes)) == 3)
    supervisor.stop()
    supervisor.join(5)
    assert not supervisor.is_alive()
    assert len(set(started(notes))) == 3
    assert ["--again" in each for each in started(notes)] == [False, True, True]
    assert time.monotonic() - began >= 0.2 + 0.4


class Watched(Supervisor):
    """Notes how long it waits before it starts a worker again, and gives each worker the job that brings it down."""

    pauses: list[float]
    take: Callable[[str], None]

    def _start(self, worker: str) -> subprocess.Popen[bytes] | None:
        self.take(worker)
        return super()._start(worker)

    def _pause(self, pause_s: float) -> float:
        self.pauses.append(pause_s)
        return super()._pause(pause_s)


def test_others_need_not_wait_while_a_job_brings_its_worker_down(engine: Engine, notes: Path) -> None:
    with writing(engine) as connection:
        job = add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())

    def take(worker: str) -> None:
        with writing(engine) as connection:
            claim_next(connection, worker, lease_s=60, now=time.time())

    supervisor = Watched(engine, (sys.executable, "-c", CHILD, str(notes), "crash"), lambda: None)
    supervisor.pauses, supervisor.take = [], take
    supervisor.start()
    wait_until(lambda: len(started(notes)) == 5)
    supervisor.stop()
    supervisor.join(5)
    with reading(engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    assert (found.state, found.crashes) == (State.FAILED, 3)
    assert supervisor.pauses[:4] == [0.2, 0.2, 0.2, 0.4]


def test_a_worker_that_can_never_work_is_not_started_again(engine: Engine, notes: Path) -> None:
    ended = threading.Event()
    supervisor = supervise(engine, notes, "unusable", ended)
    assert ended.wait(10)
    supervisor.join(5)
    assert supervisor.unusable
    assert len(started(notes)) == 1


def test_a_worker_that_cannot_be_started_now_is_started_later(engine: Engine, tmp_path: Path) -> None:
    program, notes = tmp_path / "program", tmp_path / "notes"
    supervisor = Supervisor(engine, (str(program), str(notes), "wait"), lambda: None)
    supervisor.start()
    time.sleep(0.3)
    (tmp_path / "new").write_text(f"#!{sys.executable}\n{CHILD}")
    (tmp_path / "new").chmod(0o700)
    (tmp_path / "new").rename(program)
    wait_until(lambda: started(notes))
    supervisor.stop()
    supervisor.join(5)
    assert not supervisor.is_alive()


def test_a_supervisor_that_starts_nothing_can_be_stopped(engine: Engine, tmp_path: Path) -> None:
    supervisor = Supervisor(engine, (str(tmp_path / "nothing"),), lambda: None)
    supervisor.start()
    time.sleep(0.1)
    supervisor.stop()
    supervisor.join(5)
    assert not supervisor.is_alive()


def test_stopping_ends_the_worker(engine: Engine, notes: Path) -> None:
    supervisor = supervise(engine, notes, "wait")
    wait_until(lambda: started(notes))
    supervisor.stop()
    supervisor.join(5)
    assert not supervisor.is_alive()
    assert len(started(notes)) == 1


def test_the_job_of_a_dead_worker_is_taken_back_at_once(engine: Engine, notes: Path) -> None:
    supervisor = supervise(engine, notes, "wait")
    wait_until(lambda: started(notes))
    (worker,) = started(notes)
    with writing(engine) as connection:
        add_worker(connection, worker, host="h", pid=1, now=time.time())
        job = add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())
        claim_next(connection, worker, lease_s=1000, now=time.time())
    supervisor.stop()
    supervisor.join(5)
    with reading(engine) as connection:
        found = get_job(connection, job.id)
        known = connection.scalar(select(func.count()).select_from(workers))
    assert isinstance(found, Job)
    assert (found.state, found.crashes, known) == (State.QUEUED, 0, 0)
