import time

import pytest
from sqlalchemy import Engine, event, insert, update

from service.backlog import COUNTED, Backlog, count_backlog
from service.db import now_in, reading, writing
from service.errors import Refused
from service.jobs import Hold, Job, State, add_job, get_job, move
from service.queue import DEFAULT_DURATION_S, claim_next, queued_count
from service.scopes import DEFAULT_TENANT
from service.tables import jobs
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES


def add(
    engine: Engine, tenant: str = DEFAULT_TENANT, *, refine_s: float | None = None, digest: str | None = None
) -> Job:
    wanted = scenario() if refine_s is None else scenario(refine={"seconds": refine_s})
    with writing(engine) as connection:
        return add_job(connection, wanted, digest=digest, request_id="req_1", now=time.time(), tenant=tenant)


def take(engine: Engine) -> Hold:
    with writing(engine) as connection:
        taken = claim_next(connection, "w", lease_s=10, now=now_in(connection))
    assert taken is not None
    return taken[1]


def etas(engine: Engine, *waiting: Job) -> list[float]:
    with reading(engine) as connection:
        places = counted(engine).places(connection, waiting, now=time.time())
    return [places[job.id].eta_s for job in waiting]


def read(engine: Engine, job: Job) -> Job:
    with reading(engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    return found


def counted(engine: Engine) -> Backlog:
    backlog = Backlog()
    with reading(engine) as connection:
        count_backlog(connection, backlog)
    return backlog


def fill(engine: Engine, count: int, tenant: str = "many") -> None:
    """Have many jobs wait."""
    first = add(engine, tenant)
    with writing(engine) as connection:
        row = dict(connection.execute(jobs.select().where(jobs.c.id == first.id)).mappings().one())
        began = time.time() - 1000
        rows = [
            row
            | {
                "id": f"job_{number:032x}",
                "model_id": f"mdl_{number:032x}",
                "created_at": began + 999 * number / count,
            }
            for number in range(count)
        ]
        connection.execute(insert(jobs), rows)


def test_places_count_the_jobs_before_and_the_time_they_take(engine: Engine) -> None:
    first, second, third = (add(engine) for _ in range(3))
    backlog = counted(engine)
    with reading(engine) as connection:
        found = backlog.places(connection, [third, second], now=time.time())
        assert queued_count(connection) == backlog.waiting == 3
        assert backlog.places(connection, [], now=time.time()) == {}
    assert {job_id: place.position for job_id, place in found.items()} == {second.id: 1, third.id: 2}
    with writing(engine) as connection:
        taken = claim_next(connection, "w", lease_s=10, now=100.0)
        assert taken is not None
        move(connection, first.id, State.SUCCEEDED, now=104.0, hold=taken[1])
    backlog = counted(engine)
    with reading(engine) as connection:
        places = backlog.places(connection, [read(engine, first), third], now=time.time())
        assert set(places) == {third.id}
        assert places[third.id].eta_s == pytest.approx(8.0)


def test_places_count_the_jobs_of_the_same_tenant_and_the_time_that_all_take(engine: Engine) -> None:
    one, _, other = (add(engine, tenant) for tenant in ("acme", "acme", "zeta"))
    backlog = counted(engine)
    with reading(engine) as connection:
        found = backlog.places(connection, [one], now=time.time())
        found |= backlog.places(connection, [other], now=time.time())
    assert [found[job.id].position for job in (one, other)] == [0, 0]
    assert found[other.id].eta_s == pytest.approx(3 * found[one.id].eta_s)


def test_a_new_job_stands_where_reading_it_says(engine: Engine) -> None:
    for tenant in ("acme", "zeta", "acme"):
        add(engine, tenant)
    with reading(engine) as connection:
        told = Backlog().last_place(connection, "acme")
    job = add(engine, "acme")
    with reading(engine) as connection:
        assert counted(engine).places(connection, [job], now=time.time())[job.id] == told
    assert told.position == 2


def test_what_is_accepted_is_counted_at_once_and_what_others_do_at_the_next_count(engine: Engine) -> None:
    backlog = counted(engine)
    backlog.add("acme", dict.fromkeys(("job_1", "job_2", "job_3"), 0.0))
    assert backlog.waiting == 3
    with reading(engine) as connection:
        assert backlog.last_place(connection, "acme").position == 3
        assert backlog.last_place(connection, "zeta").position == 0
        count_backlog(connection, backlog)
    assert backlog.waiting == 0


def test_far_behind_a_place_is_estimated_and_never_before_those_that_are_counted(engine: Engine) -> None:
    fill(engine, 3000)
    backlog = counted(engine)
    assert backlog.waiting == 3001
    with reading(engine) as connection:
        wanted = [0, 10, COUNTED - 1, COUNTED, 2000, 2999]
        found = [get_job(connection, f"job_{number:032x}") for number in wanted]
        places = backlog.places(connection, [job for job in found if job], now=time.time())
    told = [places[f"job_{number:032x}"].position for number in wanted]
    assert told[:3] == wanted[:3]
    assert told == sorted(told)
    assert all(abs(one - number) < 60 for one, number in zip(told[3:], wanted[3:], strict=True))


def test_room_is_not_counted_while_there_is_plenty_and_kept_to_the_job_when_there_is_not(
    engine: Engine,
) -> None:
    asked = []
    event.listen(engine, "before_cursor_execute", lambda *found: asked.append(found[2]))
    for _ in range(8):
        add(engine)
    backlog = counted(engine)
    with reading(engine) as connection:
        asked.clear()
        backlog.demand_room(connection, 1, 100)
        assert asked == []
        backlog.demand_room(connection, 2, 10)
        assert asked
        with pytest.raises(Refused, match="queue-full"):
            backlog.demand_room(connection, 3, 10)


def test_a_full_queue_has_room_as_soon_as_a_job_is_taken(engine: Engine) -> None:
    for _ in range(2):
        add(engine)
    backlog = counted(engine)
    with writing(engine) as connection:
        with pytest.raises(Refused):
            backlog.demand_room(connection, 1, 2)
        claim_next(connection, "w", lease_s=10, now=100.0)
        backlog.demand_room(connection, 1, 2)


def test_a_backlog_that_was_never_counted_is_counted_when_places_are_asked_for(engine: Engine) -> None:
    one, two = add(engine), add(engine)
    with reading(engine) as connection:
        places = Backlog().places(connection, [one, two], now=time.time())
    assert [places[job.id].position for job in (one, two)] == [0, 1]
    assert places[one.id].eta_s > 0


def test_the_time_counts_the_refining_of_those_before_and_its_own(engine: Engine) -> None:
    before, refined, after = add(engine), add(engine, refine_s=20), add(engine, refine_s=5)
    assert etas(engine, before, refined, after) == pytest.approx(
        [DEFAULT_DURATION_S, 20 + 2 * DEFAULT_DURATION_S, 25 + 3 * DEFAULT_DURATION_S]
    )


def test_the_time_counts_what_is_left_of_the_refining_of_a_running_job(engine: Engine) -> None:
    add(engine, refine_s=20)
    hold, plain = take(engine), add(engine)
    assert etas(engine, plain) == pytest.approx([20 + DEFAULT_DURATION_S], abs=1)
    with writing(engine) as connection:
        started_at = now_in(connection) - 15
        connection.execute(update(jobs).where(jobs.c.id == hold.job_id).values(started_at=started_at))
    assert etas(engine, plain) == pytest.approx([5 + DEFAULT_DURATION_S], abs=1)


def test_how_long_jobs_take_is_told_without_their_refining(engine: Engine) -> None:
    add(engine, refine_s=20)
    hold, plain = take(engine), add(engine)
    with writing(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.id == hold.job_id).values(started_at=1000.0))
        move(connection, hold.job_id, State.SUCCEEDED, now=1023.0, hold=hold)
    assert etas(engine, plain) == pytest.approx([3.0])


def test_far_behind_the_refining_of_those_before_is_estimated(engine: Engine) -> None:
    fill(engine, 2000)
    with writing(engine) as connection:
        refined = scenario(refine={"seconds": 20}).model_dump(mode="json")
        connection.execute(update(jobs).where(jobs.c.tenant == "many").values(scenario=refined))
    last = add(engine)
    assert etas(engine, last)[0] == pytest.approx(2000 * (20 + DEFAULT_DURATION_S), rel=0.01)


def test_what_is_accepted_waits_for_the_refining_of_what_was_accepted_before(engine: Engine) -> None:
    backlog = counted(engine)
    backlog.add("acme", {"job_1": 20.0})
    with reading(engine) as connection:
        assert backlog.last_place(connection, "zeta").eta_s == pytest.approx(20 + 2 * DEFAULT_DURATION_S)
        assert backlog.last_place(connection, "zeta", 5.0).eta_s == pytest.approx(25 + 2 * DEFAULT_DURATION_S)
