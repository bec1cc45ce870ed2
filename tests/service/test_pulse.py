import time

from sqlalchemy import Engine

from service.db import reading, writing
from service.jobs import Hold, Job, State, add_job, cancel, get_job
from service.pulse import Pulse
from service.queue import add_worker, claim_next, has_ready_worker
from service.settings import Settings
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES


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
    pulse.begin(taken[1], "req_1", ends_at=time.monotonic() + 100)
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
    if settings.database_url is not None:
        # A server is not damaged by a file.
        return
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


def claimed(engine: Engine, now: float) -> Hold:
    with writing(engine) as connection:
        taken = claim_next(connection, "w", lease_s=10, now=now)
    assert taken is not None
    return taken[1]


def test_a_job_that_hangs_is_ended_and_its_worker_with_it(engine: Engine, settings: Settings) -> None:
    job, killed = add(engine), []
    hold = claimed(engine, now := time.time())
    instant = 0.0
    pulse = Pulse(engine, settings, "w", kill=lambda: killed.append(1), clock=lambda: instant)
    pulse.begin(hold, "req_1", 10.0)
    instant = 14.0
    pulse.beat(now)
    assert read(engine, job).state is State.RUNNING
    assert not killed
    instant = 16.0
    pulse.beat(now)
    ended = read(engine, job)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"
    assert killed


def test_a_job_that_hangs_while_it_is_cancelled_is_cancelled_all_the_same(
    engine: Engine, settings: Settings
) -> None:
    job, killed = add(engine), []
    hold = claimed(engine, now := time.time())
    instant = 0.0
    pulse = Pulse(engine, settings, "w", kill=lambda: killed.append(1), clock=lambda: instant)
    pulse.begin(hold, "req_1", 100.0)
    with writing(engine) as connection:
        assert cancel(connection, job.id, now=now)
    pulse.beat(now)
    assert read(engine, job).state is State.CANCELLING
    instant = 8.0
    pulse.beat(now)
    ended = read(engine, job)
    assert (ended.state, ended.error) == (State.CANCELLED, None)
    assert killed


def test_the_lease_of_a_worker_that_is_frozen_runs_out(engine: Engine, settings: Settings) -> None:
    job = add(engine)
    hold = claimed(engine, now := time.time())
    pulse = Pulse(engine, settings, "w", runs=lambda: False)
    pulse.begin(hold, "req_1", time.monotonic() + 100)
    pulse.beat(now + 9)
    Pulse(engine, settings, "other").beat(now + 11)
    assert read(engine, job).state is State.QUEUED
