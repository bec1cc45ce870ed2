import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import Engine

from service.db import reading, writing
from service.jobs import Job, State, add_job, cancel, get_job
from service.pulse import EXIT_STUCK, Pulse
from service.queue import add_worker, claim_next, has_ready_worker
from service.settings import Settings
from tests.service.making import scenario

STUCK = """
import sys, threading, time
from pathlib import Path
from service.db import open_engine, writing
from service.pulse import Pulse
from service.queue import claim_next
from service.settings import Settings
from tests.servers import ON_BOTH_DATABASES

pytestmark = ON_BOTH_DATABASES

settings = Settings(data_dir=Path(sys.argv[1]), beat_s=0.05)
engine = open_engine(settings.database_path)
with writing(engine) as connection:
    job, hold = claim_next(connection, "w", lease_s=10, now=time.time())
pulse = Pulse(engine, settings, "w")
pulse.begin(job, hold, time.time() - 100)
pulse.start()
time.sleep(60)
"""


def read(engine: Engine, job: Job) -> Job:
    with reading(engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    return found


def add(engine: Engine) -> Job:
    with writing(engine) as connection:
        return add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())


def test_while_it_beats_the_lease_grows_and_the_worker_is_ready(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    with writing(engine) as connection:
        add_worker(connection, "w", host="h", pid=1, now=0.0)
        taken = claim_next(connection, "w", lease_s=0.1, now=time.time())
    assert taken is not None
    pulse = Pulse(engine, settings, "w")
    pulse.ready = True
    pulse.begin(*taken, ends_at=time.time() + 100)
    pulse.start()
    time.sleep(0.5)
    pulse.stop()
    assert not pulse.is_alive()
    assert read(engine, job).state is State.RUNNING
    with reading(engine) as connection:
        assert has_ready_worker(connection, since=time.time() - 5)


def test_without_a_pulse_the_next_one_takes_the_job_back(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    with writing(engine) as connection:
        claim_next(connection, "gone", lease_s=0.1, now=time.time())
    pulse = Pulse(engine, settings, "w")
    time.sleep(0.2)
    pulse.beat(time.time())
    assert read(engine, job).state is State.QUEUED


def test_it_beats_on_when_the_database_was_damaged_for_a_while(engine: Engine, settings: Settings) -> None:
    whole, path = settings.data_dir / "whole", settings.database_path
    with writing(engine) as connection:
        add_worker(connection, "w", host="h", pid=1, now=0.0)
    engine.dispose()
    path.rename(whole)
    path.write_bytes(b"no database" * 1000)
    pulse = Pulse(engine, settings, "w")
    pulse.ready = True
    pulse.start()
    time.sleep(0.3)
    assert pulse.is_alive()
    whole.rename(path)
    time.sleep(0.5)
    pulse.stop()
    with reading(engine) as connection:
        assert has_ready_worker(connection, since=time.time() - 5)


def test_a_job_that_hangs_is_ended_and_its_process_with_it(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", STUCK, str(settings.data_dir)]
    assert subprocess.run(command, cwd=root, timeout=30, capture_output=True).returncode == EXIT_STUCK
    ended = read(engine, job)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"


def test_a_job_that_hangs_while_it_is_cancelled_is_cancelled_all_the_same(
    engine: Engine, settings: Settings
) -> None:
    job = add(engine)
    command = [sys.executable, "-c", STUCK.replace("- 100", "+ 100"), str(settings.data_dir)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while read(engine, job).state is not State.RUNNING:
        time.sleep(0.01)
    asked = time.monotonic()
    with writing(engine) as connection:
        assert cancel(connection, job.id, now=time.time())
    assert process.wait(30) == EXIT_STUCK
    assert time.monotonic() - asked < 10
    ended = read(engine, job)
    assert (ended.state, ended.error) == (State.CANCELLED, None)
