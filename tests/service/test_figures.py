"""Each job that has ended counts once, in one transaction, however many add and whatever is removed."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from service.db import reading, writing
from service.errors import problem
from service.figures import BOUNDS_S, MOST_PHASES, OTHER, Figure, add_up, has_ended, read_figures
from service.jobs import State, add_job, cancel, move
from service.queue import claim_next
from service.removal import retire
from service.tables import ended_jobs, jobs
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES


def end(engine: Engine, *phases: tuple[str, float], code: str | None = None, reused: bool = False) -> str:
    """End a job that waited 2 s and ran 3 s."""
    with writing(engine) as connection:
        job = add_job(connection, scenario(), digest=None, request_id="req_1", now=100.0)
        taken = claim_next(connection, "w", lease_s=10, now=102.0)
        assert taken is not None
        error = None if code is None else problem(code, "it is", instance="/", request_id="req_1")
        told = [{"name": name, "state": "succeeded", "duration_ms": ms} for name, ms in phases]
        more = {"phases": told, "error": error, "reused_from": "job_0" if reused else None}
        to = State.FAILED if code else State.SUCCEEDED
        assert move(connection, job.id, to, now=105.0, hold=taken[1], **more)
    return job.id


def added(engine: Engine) -> dict[str, Figure]:
    """Add all up; return the figures by what they are of."""
    with writing(engine) as connection:
        while add_up(connection, limit=7):
            pass
    with reading(engine) as connection:
        assert not has_ended(connection)
        return {" ".join(word for word in one.key if word): one for one in read_figures(connection)}


def test_ended_jobs_are_counted_by_state_and_code_and_their_times_summed(engine: Engine) -> None:
    assert added(engine) == {}
    end(engine, ("assembling", 20.0), ("compiling", 4.0))
    end(engine, ("assembling", 60.0), code="out-of-memory")
    end(engine, reused=True)
    found = added(engine)
    assert {name: one.count for name, one in found.items()} == {
        "ended succeeded none": 1,
        "reused succeeded none": 1,
        "ended failed out-of-memory": 1,
        "phase assembling": 2,
        "phase compiling": 1,
        "run": 2,
        "wait": 3,
    }
    assert (found["wait"].sum_s, found["run"].sum_s) == (6.0, 6.0)
    assert found["phase assembling"].sum_s == 0.08
    buckets = dict(zip(BOUNDS_S, found["phase assembling"].buckets, strict=False))
    assert {bound: count for bound, count in buckets.items() if count} == {0.025: 1, 0.1: 1}


def test_a_job_that_never_ran_is_counted_without_times(engine: Engine) -> None:
    with writing(engine) as connection:
        job = add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())
        cancel(connection, job.id, now=time.time())
    assert list(added(engine)) == ["ended cancelled none"]


def test_what_was_added_stays_when_its_job_is_removed(engine: Engine) -> None:
    end(engine, ("assembling", 20.0))
    before = added(engine)
    with writing(engine) as connection:
        assert retire(connection, before=time.time() + 1000, now=time.time(), limit=10) == 1
    assert added(engine) == before
    end(engine, ("assembling", 20.0))
    assert added(engine)["phase assembling"].count == 2


def test_many_that_add_at_once_count_each_job_once(engine: Engine) -> None:
    for _ in range(40):
        end(engine, ("assembling", 20.0))

    def add(_: int) -> None:
        for _ in range(10):
            with writing(engine) as connection:
                add_up(connection, limit=3)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert added(engine)["ended succeeded none"].count == 40


def test_names_that_are_made_up_do_not_fill_the_table(engine: Engine) -> None:
    for number in range(3):
        end(engine, *((f"phase {number} {place}", 1.0) for place in range(40)))
    found = added(engine)
    names = {name for name in found if name.startswith("phase")}
    assert len(names) == MOST_PHASES + 1
    assert found[f"phase {OTHER}"].count == 3 * 40 - MOST_PHASES


@given(st.lists(st.floats(min_value=-1, max_value=1e6)))
def test_buckets_hold_every_time_once(durations_s: list[float]) -> None:
    one = Figure("phase")
    for duration_s in durations_s:
        one.add(duration_s)
    assert sum(one.buckets) == one.count == len(durations_s)
    below = sum(duration_s <= BOUNDS_S[3] for duration_s in durations_s)
    assert sum(one.buckets[:4]) == below


def test_figures_of_a_hundred_thousand_jobs_are_read_in_milliseconds(engine: Engine) -> None:
    first = end(engine, ("assembling", 20.0), ("compiling", 4.0))
    with writing(engine) as connection:
        row: dict[str, Any] = dict(
            connection.execute(jobs.select().where(jobs.c.id == first)).mappings().one()
        )
        ids = [f"{number:032x}" for number in range(100_000)]
        connection.execute(insert(jobs), [row | {"id": f"job_{n}", "model_id": f"mdl_{n}"} for n in ids])
        connection.execute(insert(ended_jobs), [{"job_id": f"job_{number}"} for number in ids[:2000]])
    added(engine)
    took = []
    for _ in range(5):
        end(engine, ("assembling", 20.0))
        began = time.perf_counter()
        with writing(engine) as connection:
            assert add_up(connection) == 1
        with reading(engine) as connection:
            assert read_figures(connection)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05
