import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine

from service.db import reading, writing
from service.jobs import Hold, Job, State, add_job, cancel, get_job, list_events, move
from service.queue import (
    MAX_ATTEMPTS,
    MAX_CRASHES,
    add_worker,
    beat,
    claim_next,
    claim_twin,
    confirm_cancel,
    give_way,
    has_ready_worker,
    needs_sweep,
    note_phases,
    release,
    remove_dead_workers,
    remove_worker,
    renew,
    sweep,
)
from service.scopes import DEFAULT_TENANT
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES

LEASE_S = 10.0


def add(
    engine: Engine,
    digest: str | None = None,
    now: float = 100.0,
    tenant: str = DEFAULT_TENANT,
    **changes: object,
) -> Job:
    time.sleep(0.0015)  # ids sort by the millisecond they were made in
    with writing(engine, durable=False) as connection:
        return add_job(
            connection, scenario(**changes), digest=digest, request_id="req_1", now=now, tenant=tenant
        )


def claim(engine: Engine, worker: str = "a", now: float = 100.0) -> tuple[Job, Hold]:
    taken = try_claim(engine, worker, now)
    assert taken is not None
    return taken


def try_claim(engine: Engine, worker: str = "a", now: float = 100.0) -> tuple[Job, Hold] | None:
    with writing(engine, durable=False) as connection:
        return claim_next(connection, worker, lease_s=LEASE_S, now=now)


def read(connection: Connection, job: Job) -> Job:
    found = get_job(connection, job.id)
    assert found is not None
    return found


def test_the_oldest_job_is_taken_first_and_none_twice(engine: Engine) -> None:
    made = [add(engine) for _ in range(3)]
    assert [claim(engine)[0].id for _ in made] == [job.id for job in made]
    assert try_claim(engine) is None


def test_a_taken_job_is_running_under_a_lease_with_its_attempt_counted(engine: Engine) -> None:
    add(engine)
    job, hold = claim(engine, "w", now=200.0)
    assert (job.state, job.worker, job.attempt, job.started_at) == (State.RUNNING, "w", 1, 200.0)
    assert job.lease_until == 210.0
    assert hold == Hold(job.id, "w", 1)


def test_a_job_waits_while_its_twin_runs(engine: Engine) -> None:
    first, twin, other = add(engine, "sha256:x"), add(engine, "sha256:x"), add(engine, "sha256:y")
    _, hold = claim(engine)
    assert claim(engine)[0].id == other.id
    assert try_claim(engine) is None
    with writing(engine) as connection:
        move(connection, first.id, State.SUCCEEDED, now=101.0, hold=hold)
    assert claim(engine)[0].id == twin.id


def test_jobs_without_a_digest_do_not_wait_for_each_other(engine: Engine) -> None:
    add(engine)
    add(engine)
    claim(engine)
    assert try_claim(engine) is not None


def test_a_job_past_its_deadline_is_never_started_and_expires(engine: Engine) -> None:
    job = add(engine, deadline_s=5)
    assert try_claim(engine, now=105.0) is None
    with writing(engine) as connection:
        assert not needs_sweep(connection, now=104.9)
        assert needs_sweep(connection, now=105.0)
        assert sweep(connection, now=105.0) == 1
        ended = read(connection, job)
    assert ended.state is State.EXPIRED
    assert ended.error is not None
    assert ended.error["code"] == "deadline-passed"


def test_a_worker_that_renews_keeps_its_job_and_a_silent_one_loses_it(engine: Engine) -> None:
    job = add(engine)
    _, hold = claim(engine)
    with writing(engine) as connection:
        assert renew(connection, hold, lease_s=LEASE_S, now=108.0)
        assert sweep(connection, now=112.0) == 0
        assert sweep(connection, now=118.0) == 1
        assert read(connection, job).state is State.QUEUED


def test_a_worker_whose_job_was_taken_away_can_no_longer_change_it(engine: Engine) -> None:
    job = add(engine)
    _, old = claim(engine, "slow")
    with writing(engine) as connection:
        sweep(connection, now=111.0)
    _, new = claim(engine, "quick", now=111.0)
    with writing(engine) as connection:
        assert not renew(connection, old, lease_s=LEASE_S, now=112.0)
        assert not note_phases(connection, old, [{"name": "x"}], 0.5, now=112.0)
        assert not release(connection, old, now=112.0)
        assert not move(connection, job.id, State.SUCCEEDED, now=112.0, hold=old)
        assert move(connection, job.id, State.SUCCEEDED, now=112.0, hold=new)


def test_even_the_same_worker_cannot_use_an_old_attempt(engine: Engine) -> None:
    add(engine)
    _, old = claim(engine)
    with writing(engine) as connection:
        sweep(connection, now=111.0)
    claim(engine, now=111.0)
    with writing(engine) as connection:
        assert not renew(connection, old, lease_s=LEASE_S, now=112.0)


def test_a_job_that_is_put_back_is_the_next_to_be_taken(engine: Engine) -> None:
    job = add(engine)
    add(engine)
    _, hold = claim(engine)
    with writing(engine) as connection:
        note_phases(
            connection, hold, [{"name": "one", "state": "running", "duration_ms": None}], 0.2, now=100.5
        )
        assert release(connection, hold, now=101.0)
        assert read(connection, job).phase is None
    again, hold = claim(engine, "b")
    assert (again.id, again.attempt, again.crashes) == (job.id, 2, 0)


def test_a_job_that_crashes_its_worker_again_and_again_ends_poisoned(engine: Engine) -> None:
    job = add(engine)
    for crash in range(1, MAX_CRASHES + 1):
        claim(engine, f"w{crash}")
        with writing(engine) as connection:
            assert remove_worker(connection, f"w{crash}", crashed=True, now=100.0) == 1
    with reading(engine) as connection:
        ended = read(connection, job)
        events = list_events(connection, job.id)
    assert (ended.state, ended.crashes) == (State.FAILED, MAX_CRASHES)
    assert ended.error is not None
    assert (ended.error["code"], ended.error["fault"]) == ("poisoned", "service")
    assert (events[-1].kind, events[-1].data) == ("done", {"state": "failed"})
    assert try_claim(engine) is None


def test_workers_stopped_from_outside_do_not_poison_but_the_tries_are_bounded(engine: Engine) -> None:
    job = add(engine)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert claim(engine)[0].attempt == attempt
        with writing(engine) as connection:
            remove_worker(connection, "a", crashed=False, now=100.0)
    with reading(engine) as connection:
        ended = read(connection, job)
    assert (ended.state, ended.crashes) == (State.FAILED, 0)
    assert ended.error is not None
    assert ended.error["code"] == "worker-lost"


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_by_its_worker(engine: Engine) -> None:
    first, second = add(engine), add(engine)
    _, hold = claim(engine)
    with writing(engine) as connection:
        assert cancel(connection, first.id, now=1.0)
        assert cancel(connection, second.id, now=1.0)
        assert (read(connection, first).state, read(connection, second).state) == (
            State.CANCELLING,
            State.CANCELLED,
        )
        assert not any(cancel(connection, job.id, now=2.0) for job in (first, second))
        assert renew(connection, hold, lease_s=LEASE_S, now=3.0) is State.CANCELLING
        assert not note_phases(connection, hold, [{"name": "one"}], 0.1, now=3.0)
        assert not release(connection, hold, now=3.0)
        assert not confirm_cancel(connection, Hold(first.id, "b", 1), now=4.0)
        assert confirm_cancel(connection, hold, now=4.0)
        assert renew(connection, hold, lease_s=LEASE_S, now=5.0) is None
    assert try_claim(engine) is None


@pytest.mark.parametrize("by", ["sweep", "burial"])
def test_a_job_to_be_cancelled_ends_when_its_worker_is_gone(engine: Engine, by: str) -> None:
    job = add(engine)
    claim(engine)
    with writing(engine) as connection:
        cancel(connection, job.id, now=101.0)
        assert not needs_sweep(connection, now=108.9)
        assert needs_sweep(connection, now=109.0)
        if by == "sweep":
            assert sweep(connection, now=109.0) == 1
        else:
            assert remove_worker(connection, "a", crashed=True, now=102.0) == 1
        ended = read(connection, job)
    assert (ended.state, ended.crashes) == (State.CANCELLED, 0)


def test_the_lease_of_a_job_to_be_cancelled_is_not_prolonged(engine: Engine) -> None:
    job = add(engine)
    _, hold = claim(engine)
    with writing(engine) as connection:
        cancel(connection, job.id, now=101.0)
        for now in (102.0, 108.0):
            assert renew(connection, hold, lease_s=LEASE_S, now=now) is State.CANCELLING
        assert sweep(connection, now=109.0) == 1
        assert read(connection, job).state is State.CANCELLED


def test_a_job_whose_digest_shows_that_its_twin_is_running_goes_back(engine: Engine) -> None:
    first, second, other = (add(engine), add(engine), add(engine, tenant="zeta"))
    taken = [claim(engine, worker) for worker in "abc"]
    assert [job.id for job, _ in taken] == [first.id, second.id, other.id]
    with writing(engine) as connection:
        assert [give_way(connection, job, hold, "sha256:x", now=101.0) for job, hold in taken] == [
            False,
            True,
            False,
        ]
        assert [read(connection, job).state for job, _ in taken] == [
            State.RUNNING,
            State.QUEUED,
            State.RUNNING,
        ]
    assert try_claim(engine) is None
    with writing(engine) as connection:
        move(connection, first.id, State.SUCCEEDED, now=102.0, hold=taken[0][1])
    assert claim(engine)[0].id == second.id


def test_twins_of_a_poisoned_job_end_with_it(engine: Engine) -> None:
    job, twin, other = add(engine, "sha256:x"), add(engine, "sha256:x"), add(engine, "sha256:y")
    elsewhere = add(engine, "sha256:x", tenant="zeta")
    for number in range(MAX_CRASHES):
        claim(engine, f"w{number}")
        with writing(engine) as connection:
            remove_worker(connection, f"w{number}", crashed=True, now=101.0)
    with reading(engine) as connection:
        ended = [read(connection, one) for one in (job, twin)]
        assert {one.state for one in (read(connection, other), read(connection, elsewhere))} == {State.QUEUED}
    for one in ended:
        assert one.state is State.FAILED
        assert one.error is not None
        assert (one.error["code"], one.error["instance"]) == ("poisoned", f"/jobs/{one.id}")


def test_removing_a_worker_leaves_the_jobs_of_others_alone(engine: Engine) -> None:
    add(engine)
    add(engine)
    mine, _ = claim(engine, "a")
    theirs, _ = claim(engine, "b")
    with writing(engine) as connection:
        remove_worker(connection, "a", crashed=False, now=101.0)
        assert read(connection, mine).state is State.QUEUED
        assert read(connection, theirs).state is State.RUNNING


def test_dead_workers_of_this_machine_are_removed_and_living_and_foreign_ones_are_not(engine: Engine) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = os.getppid()
    for _ in range(4):
        add(engine)
    with writing(engine) as connection:
        for worker, host, pid in (("dead", "h", ended.pid), ("alive", "h", living), ("far", "g", ended.pid)):
            add_worker(connection, worker, host=host, pid=pid, now=100.0)
        # A container that starts again gets the same process number as before.
        add_worker(connection, "namesake", host="h", pid=os.getpid(), now=100.0)
    held = {worker: claim(engine, worker)[0] for worker in ("dead", "alive", "far", "namesake")}
    with writing(engine) as connection:
        assert remove_dead_workers(connection, host="h", crashed=False, now=101.0) == 2
        states = {worker: read(connection, job).state for worker, job in held.items()}
    assert states == {
        "dead": State.QUEUED,
        "namesake": State.QUEUED,
        "alive": State.RUNNING,
        "far": State.RUNNING,
    }


def test_a_process_that_ended_but_was_not_reaped_counts_as_dead(engine: Engine) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert zombie.stdout is not None
    zombie.stdout.read()
    time.sleep(0.1)
    add(engine)
    with writing(engine) as connection:
        add_worker(connection, "z", host="h", pid=zombie.pid, now=100.0)
    claim(engine, "z")
    with writing(engine) as connection:
        assert remove_dead_workers(connection, host="h", crashed=False, now=101.0) == 1
    zombie.wait()
    zombie.stdout.close()


def test_a_worker_counts_as_ready_only_when_it_said_so_lately(engine: Engine) -> None:
    with writing(engine) as connection:
        add_worker(connection, "a", host="h", pid=1, now=100.0)
        assert not has_ready_worker(connection, since=99.0)
        beat(connection, "a", ready=True, now=101.0)
        assert has_ready_worker(connection, since=101.0)
        assert not has_ready_worker(connection, since=101.1)


def test_equal_jobs_of_two_tenants_are_no_twins(engine: Engine) -> None:
    first, other, twin = (add(engine, "sha256:d", tenant=tenant) for tenant in ("acme", "zeta", "acme"))
    assert claim(engine)[0].id == first.id
    # It does not wait for the first, and the last, which does, is none of its twins.
    assert claim(engine)[0].id == other.id
    assert try_claim(engine) is None
    with writing(engine) as connection:
        assert claim_twin(connection, "b", "zeta", "sha256:d", lease_s=LEASE_S, now=100.0) is None
        taken = claim_twin(connection, "b", "acme", "sha256:d", lease_s=LEASE_S, now=100.0)
    assert taken is not None
    assert taken[0].id == twin.id


def test_phases_are_written_with_an_event_each(engine: Engine) -> None:
    job = add(engine)
    _, hold = claim(engine)
    phases = [{"name": "assembling", "state": "running", "duration_ms": None}]
    with writing(engine) as connection:
        assert note_phases(connection, hold, phases, 0.25, now=101.0)
        noted = read(connection, job)
        events = list_events(connection, job.id)
    assert (noted.phase, noted.progress, noted.phases) == ("assembling", 0.25, phases)
    assert (events[-1].kind, events[-1].data) == ("phase", {"phase": "assembling", "progress": 0.25})


def test_of_twins_that_many_workers_take_at_once_one_is_built(engine: Engine) -> None:
    for _ in range(12):
        add(engine, digest="sha256:same")

    def take(number: int) -> bool:
        with writing(engine) as connection:
            return claim_next(connection, f"wrk_{number}", lease_s=LEASE_S, now=100.0) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(24))) == 1


def test_jobs_that_many_workers_take_at_once_are_given_to_one_each(engine: Engine) -> None:
    wanted = {add(engine).id for _ in range(12)}

    def take(number: int) -> str | None:
        with writing(engine) as connection:
            taken = claim_next(connection, f"wrk_{number}", lease_s=LEASE_S, now=100.0)
        return taken and taken[0].id

    with ThreadPoolExecutor(6) as pool:
        found = [job for job in pool.map(take, range(24)) if job]
    assert len(found) == 12
    assert set(found) == wanted
