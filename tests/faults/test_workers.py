import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text

from service.db import reading
from service.jobs import State
from service.tables import jobs
from tests.faults.audit import audit, orphans, settle, sweep
from tests.faults.child import LEASE_S, PHASES
from tests.faults.clients import Ledger, posting, scenario
from tests.faults.fleet import TENANTS, Fleet, Part, wait_until

NUMBERS = itertools.count(1)


def post(running: Fleet, **labels: str) -> str:
    """Post a scenario that is like no other; return its job."""
    number = next(NUMBERS)
    wanted = scenario(number, **labels)
    answer = running.ask("POST", "/models", TENANTS[number % 2], json=wanted)
    assert answer.status_code == 202
    job: str = answer.json()["id"]
    return job


def state_of(running: Fleet, job: str) -> State:
    with reading(running.engine) as connection:
        return State(connection.scalars(select(jobs.c.state).where(jobs.c.id == job)).one())


def test_a_worker_killed_in_any_phase_loses_no_job(running: Fleet) -> None:
    found = [post(running, dies=phase) for phase in PHASES]
    settle(running)
    assert [state_of(running, job) for job in found] == [State.SUCCEEDED] * len(PHASES)
    audit(running, Ledger())


def test_a_worker_killed_between_the_file_and_the_record_leaves_one_model(running: Fleet) -> None:
    job = post(running, phase_s="0.3")
    with stored_and_not_recorded(running, job):
        worker_of(running, job).kill()
    settle(running)
    assert state_of(running, job) is State.SUCCEEDED
    audit(running, Ledger())
    with reading(running.engine) as connection:
        assert connection.scalars(select(jobs.c.attempt).where(jobs.c.id == job)).one() == 2


def test_what_a_killed_worker_stored_for_a_job_that_was_cancelled_is_removed(running: Fleet) -> None:
    sweep(running)
    job = post(running, phase_s="0.3")
    with stored_and_not_recorded(running, job) as left:
        worker_of(running, job).kill()
    tenants = {running.ask("POST", f"/jobs/{job}/cancel", tenant).status_code for tenant in TENANTS}
    assert 404 in tenants
    settle(running)
    assert state_of(running, job) is State.CANCELLED
    assert orphans(running) == [left]
    assert sweep(running) == 1
    assert not left.exists()
    audit(running, Ledger())


@contextmanager
def stored_and_not_recorded(running: Fleet, job: str) -> Iterator[Path]:
    """Wait until a job's file is stored, and yield it while nobody can write that there is a model."""
    wait_until(lambda: state_of(running, job) is State.RUNNING)
    before = set(stored(running.store))
    with running.engine.connect() as holding, holding.begin():
        holding.execute(text("LOCK TABLE models IN ACCESS EXCLUSIVE MODE"))
        wait_until(lambda: set(stored(running.store)) > before, 30, running.logs)
        (left,) = set(stored(running.store)) - before
        time.sleep(0.3)
        yield left


def stored(store: Path) -> list[Path]:
    return [path for path in store.glob("*/*") if not path.name.startswith(".")]


def test_what_a_worker_makes_that_slept_longer_than_its_lease_does_not_count(running: Fleet) -> None:
    job = post(running, phase_s="0.7")
    wait_until(lambda: state_of(running, job) is State.RUNNING)
    with reading(running.engine) as connection:
        first = connection.scalars(select(jobs.c.attempt).where(jobs.c.id == job)).one()
    asleep = worker_of(running, job)
    asleep.signal(signal.SIGSTOP)
    time.sleep(LEASE_S + 1)
    asleep.signal(signal.SIGCONT)
    settle(running)
    assert state_of(running, job) is State.SUCCEEDED
    with reading(running.engine) as connection:
        assert connection.scalars(select(jobs.c.attempt).where(jobs.c.id == job)).one() > first
    audit(running, Ledger())


def worker_of(running: Fleet, job: str) -> Part:
    """Return the worker that holds a job."""
    query = text("SELECT workers.pid FROM workers JOIN jobs ON jobs.worker = workers.id WHERE jobs.id = :job")
    with reading(running.engine) as connection:
        pid = connection.execute(query, {"job": job}).scalar_one()
    return next(part for part in running.workers if part.process is not None and part.process.pid == pid)


def test_a_scenario_that_kills_every_worker_ends_and_the_others_go_on(running: Fleet) -> None:
    poison = post(running, dies="compiling", always="yes")
    others = [post(running) for _ in range(10)]
    settle(running, 90)
    assert state_of(running, poison) is State.FAILED
    with reading(running.engine) as connection:
        error = connection.scalars(select(jobs.c.error).where(jobs.c.id == poison)).one()
    assert error["code"] == "poisoned"
    assert {state_of(running, job) for job in others} == {State.SUCCEEDED}
    audit(running, Ledger())


def test_workers_that_are_killed_all_the_time_lose_nothing(running: Fleet) -> None:
    over = threading.Event()

    def kill() -> None:
        turn = 0
        while not over.wait(1.5):
            running.workers[turn % 2].kill()
            running.keep()
            turn += 1

    killing = threading.Thread(target=kill)
    with posting(running, seed=1, labels={"phase_s": "0.05"}) as ledger:
        killing.start()
        time.sleep(6)
    over.set()
    killing.join()
    settle(running, 90)
    audit(running, ledger)
    assert {state_of(running, job) for job in ledger.accepted.values()} == {State.SUCCEEDED}
    assert len(ledger.accepted) > 20


@pytest.mark.parametrize("wrong_s", [3600.0, -3600.0])
def test_clocks_that_jump_lose_nothing(running: Fleet, wrong_s: float) -> None:
    with posting(running, seed=2 if wrong_s > 0 else 3, labels={"phase_s": "0.05"}) as ledger:
        for part in (running.workers[0], running.apis[0], running.workers[1]):
            time.sleep(1.5)
            running.set_clock(part, wrong_s)
    settle(running)
    for part in (*running.workers, *running.apis):
        running.set_clock(part, 0)
    audit(running, ledger)
    assert len(ledger.accepted) > 10
    assert {state_of(running, job) for job in ledger.accepted.values()} == {State.SUCCEEDED}
