import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql

from service.db import open_engine, reading, writing
from service.jobs import (
    DONE,
    MOVES,
    Filter,
    Hold,
    Job,
    State,
    _conditions,
    add_job,
    count_jobs,
    events_after,
    get_job,
    last_event_id,
    list_events,
    list_jobs,
    move,
)
from service.migrations import migrate
from service.scopes import DEFAULT_TENANT
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES


def add(engine: Engine, **changes: object) -> Job:
    with writing(engine, durable=False) as connection:
        return add_job(connection, scenario(**changes), digest="sha256:d", request_id="req_1", now=100.0)


def push(engine: Engine, job: Job, to: State, hold: Hold | None = None, **values: object) -> bool:
    with writing(engine, durable=False) as connection:
        return move(connection, job.id, to, now=101.0, hold=hold, **values)


def read(engine: Engine, job: Job) -> Job:
    with reading(engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    return found


def test_a_job_is_returned_as_it_is_read(engine: Engine) -> None:
    for changes in (
        {},
        {"deadline_s": 0.1 + 0.2, "labels": {"ä": "\U0001f600"}, "limits": {"latency_ms": 1e-3}},
    ):
        job = add(engine, **changes)
        assert read(engine, job) == job


def test_a_new_job_is_queued_and_remembers_its_scenario(engine: Engine) -> None:
    job = add(engine, deadline_s=5, name="dock 3")
    assert (job.state, job.done, job.attempt, job.created_at, job.deadline_at) == (
        State.QUEUED,
        False,
        0,
        100.0,
        105.0,
    )
    assert job.scenario == scenario(deadline_s=5, name="dock 3").model_dump(mode="json")
    assert read(engine, job) == job


def test_only_the_done_states_are_never_left() -> None:
    assert {state for state, targets in MOVES.items() if not targets} == DONE
    assert set(MOVES) == set(State)


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(State), max_size=12))
def test_whatever_is_tried_only_legal_moves_happen_and_each_leaves_one_event(tries: list[State]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(Path(folder) / "x.db")
        migrate(engine)
        job = add(engine)
        state, happened = State.QUEUED, [State.QUEUED]
        for to in tries:
            legal = to in MOVES[state]
            assert push(engine, job, to) is legal
            if legal:
                state = to
                happened.append(to)
            assert read(engine, job).state is state
        with reading(engine) as connection:
            events = list_events(connection, job.id)
        engine.dispose()
    assert [event.data["state"] for event in events] == happened
    assert [event.kind for event in events] == ["done" if to in DONE else "state" for to in happened]


def test_a_move_by_a_worker_needs_its_hold(engine: Engine) -> None:
    job = add(engine)
    assert push(engine, job, State.RUNNING, worker="a", attempt=1)
    assert not push(engine, job, State.SUCCEEDED, Hold(job.id, "b", 1))
    assert not push(engine, job, State.SUCCEEDED, Hold(job.id, "a", 2))
    assert push(engine, job, State.SUCCEEDED, Hold(job.id, "a", 1))


def test_the_end_of_a_job_is_dated_and_ends_its_lease(engine: Engine) -> None:
    job = add(engine)
    push(engine, job, State.RUNNING, worker="a", attempt=1, lease_until=200.0)
    push(engine, job, State.FAILED, error={"code": "internal"})
    ended = read(engine, job)
    assert (ended.done, ended.finished_at, ended.worker, ended.lease_until) == (True, 101.0, None, None)
    assert ended.error == {"code": "internal"}


def test_jobs_are_listed_newest_first_by_state_and_page_by_page(engine: Engine) -> None:
    made = sorted((add(engine) for _ in range(5)), key=lambda job: job.id, reverse=True)
    push(engine, made[1], State.CANCELLED)
    with reading(engine) as connection:
        everything = [job.id for job in list_jobs(connection, DEFAULT_TENANT, limit=10)]
        second = list_jobs(connection, DEFAULT_TENANT, before=made[1].id, limit=2)
        queued = list_jobs(connection, DEFAULT_TENANT, only=Filter(state=State.QUEUED), limit=10)
        counts = count_jobs(connection, DEFAULT_TENANT)
    assert everything == [job.id for job in made]
    assert [job.id for job in second] == [made[2].id, made[3].id]
    assert made[1].id not in [job.id for job in queued]
    assert counts == {**dict.fromkeys(State, 0), State.QUEUED: 4, State.CANCELLED: 1}


def listed(engine: Engine, **only: Any) -> list[str]:
    with reading(engine) as connection:
        found = list_jobs(connection, DEFAULT_TENANT, only=Filter(**only), limit=10)
    return [job.scenario["name"] for job in found]


def test_jobs_are_found_by_device_and_by_their_labels(engine: Engine) -> None:
    add(engine, name="a", labels={"site": "delft", "größe": "5"})
    add(engine, name="b", device="other", labels={"site": "ghent", "a.b[0]": "x:y=z"})
    add(engine, name="c")
    assert listed(engine, device="other") == ["b"]
    assert sorted(listed(engine, device="local")) == ["a", "c"]
    assert listed(engine, device="loca") == []
    assert sorted(listed(engine, labels=(("site", None),))) == ["a", "b"]
    assert listed(engine, labels=(("site", "delft"),)) == ["a"]
    assert listed(engine, labels=(("site", "delft"), ("größe", "5"))) == ["a"]
    assert listed(engine, labels=(("site", "ghent"), ("größe", None))) == []
    assert listed(engine, labels=(("a.b[0]", "x:y=z"),)) == ["b"]
    assert listed(engine, labels=(("name", None),)) == []


def test_the_filters_can_be_said_to_postgresql_too() -> None:
    conditions = _conditions(Filter(device="local", labels=(("site", "x"), ("rack", None))))
    said = [str(one.compile(dialect=postgresql.dialect())) for one in conditions]
    assert [text.count("->>") for text in said] == [1, 1, 1]
    assert [text.count("-> ") for text in said] == [0, 1, 1]
    assert "IS NOT NULL" in said[2]


@given(st.integers(0, 4_000_000_000_000), st.integers(-3000, 3000))
def test_created_after_compares_the_times_that_clients_are_told(at_ms: int, later_us: int) -> None:
    at, after = at_ms / 1000 + 0.0004, at_ms / 1000 + later_us / 1e6
    (condition,) = _conditions(Filter(created_after=after))
    assert (at >= condition.right.value) is (later_us < 0)


def test_events_of_all_jobs_are_read_on_from_any_of_them(engine: Engine) -> None:
    with reading(engine) as connection:
        assert (last_event_id(connection), events_after(connection, 0, limit=9)) == (0, [])
    one, two = add(engine), add(engine)
    push(engine, one, State.CANCELLED)
    with reading(engine) as connection:
        every = events_after(connection, 0, limit=9)
        assert [(event.job_id, event.kind) for event in every] == [
            (one.id, "state"),
            (two.id, "state"),
            (one.id, "done"),
        ]
        assert [event.ends for event in every] == [False, False, True]
        assert events_after(connection, every[0].id, limit=1) == every[1:2]
        assert last_event_id(connection) == every[-1].id
        assert list_events(connection, one.id) == [every[0], every[2]]


def test_an_unknown_job_is_none(engine: Engine) -> None:
    with reading(engine) as connection:
        assert get_job(connection, "job_unknown") is None
