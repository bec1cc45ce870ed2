"""A worker's pulse goes on while its interpreter does nothing, and stops with its process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from service.db import reading, writing
from service.jobs import Job, State, add_job, cancel, get_job
from service.queue import sweep
from service.settings import Settings
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES

HOLDER = """
import sys, time
from pathlib import Path
from sqlalchemy import make_url
from service.db import open_engine, writing
from service.heart import Heart
from service.queue import claim_next
from service.settings import Settings

url = make_url(sys.argv[2]) if sys.argv[2] else None
settings = Settings(data_dir=Path(sys.argv[1]), database_url=url, beat_s=0.05, lease_s=1.5)
heart = Heart(settings, "w")
heart.start()
time.sleep(1.5)
engine = open_engine(settings.database)
with writing(engine) as connection:
    job, hold = claim_next(connection, "w", lease_s=1.5, now=time.time())
heart.begin(hold, "req_1", time.monotonic() + float(sys.argv[3]))
print("begun", flush=True)
exec(sys.argv[4])
heart.stop()
"""
# One call of native code that never lets another thread of its process run.
STUBBORN = "factor = int('7'); factor ** 9_000_000"


def read(engine: Engine, job: Job) -> Job:
    with reading(engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    return found


def add(engine: Engine) -> Job:
    with writing(engine) as connection:
        return add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())


@contextmanager
def holding(settings: Settings, ends_in_s: float, then: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that holds a job, and return when it does."""
    url = settings.database_url
    address = url.render_as_string(hide_password=False) if url else ""
    command = [sys.executable, "-c", HOLDER, str(settings.data_dir), address, str(ends_in_s), then]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            yield process
        finally:
            process.kill()


def sweeping(engine: Engine, for_s: float, *, until: Callable[[], bool] = lambda: False) -> None:
    """Take back what was left, as other processes do, for a while."""
    end = time.monotonic() + for_s
    while time.monotonic() < end and not until():
        with writing(engine) as connection:
            sweep(connection, now=time.time())
        time.sleep(0.05)


def test_a_lease_is_kept_while_native_code_holds_the_interpreter(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    with holding(settings, 100, STUBBORN):
        sweeping(engine, 4.0)
        assert read(engine, job).state is State.RUNNING


def test_the_job_of_a_process_that_is_killed_is_taken_back(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    with holding(settings, 100, "time.sleep(60)") as process:
        process.kill()
        sweeping(engine, 20.0, until=lambda: read(engine, job).state is State.QUEUED)
        assert read(engine, job).state is State.QUEUED


def test_the_job_of_a_process_that_is_frozen_is_taken_back(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    with holding(settings, 100, "time.sleep(60)") as process:
        os.kill(process.pid, signal.SIGSTOP)
        sweeping(engine, 20.0, until=lambda: read(engine, job).state is State.QUEUED)
        assert read(engine, job).state is State.QUEUED


def test_a_process_that_hangs_is_killed_and_its_job_ended(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    with holding(settings, -100, "time.sleep(60)") as process:
        assert process.wait(30) == -signal.SIGKILL
    ended = read(engine, job)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"


def test_a_process_that_hangs_in_a_cancelled_job_is_killed_within_ten_seconds(
    engine: Engine, settings: Settings
) -> None:
    job = add(engine)
    with holding(settings, 100, "time.sleep(60)") as process:
        asked = time.monotonic()
        with writing(engine) as connection:
            assert cancel(connection, job.id, now=time.time())
        assert process.wait(30) == -signal.SIGKILL
        assert time.monotonic() - asked < 10
    ended = read(engine, job)
    assert (ended.state, ended.error) == (State.CANCELLED, None)


def test_a_heart_that_was_killed_is_started_again_with_the_next_job(
    engine: Engine, settings: Settings
) -> None:
    job = add(engine)
    then = (
        "import os\nheart._process.kill()\nheart._process.wait()\n"
        "heart.begin(hold, 'req_1', time.monotonic() + 100)\ntime.sleep(60)"
    )
    with holding(settings, 100, then):
        time.sleep(2.0)
        sweeping(engine, 2.0)
        assert read(engine, job).attempt == 1
        assert read(engine, job).state is State.RUNNING


def test_whether_a_heart_beats_can_be_asked_from_outside(engine: Engine, settings: Settings) -> None:
    check = [sys.executable, "-m", "service.heart", "--check"]
    add(engine)
    with holding(settings, 100, "time.sleep(60)"):
        assert subprocess.run(check, cwd=Path(__file__).parents[2], check=False).returncode == 0
