import asyncio
import time

from service.db import writing
from service.house import House
from service.jobs import Job, JobEvent, State, add_event, add_job, move
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario

pytestmark = ON_BOTH_DATABASES


def add(house: House) -> Job:
    with writing(house.engine) as connection:
        return add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())


def end(house: House, job: Job) -> None:
    with writing(house.engine) as connection:
        move(connection, job.id, State.CANCELLED, now=time.time())


async def wait_s(house: House, job: Job, timeout_s: float) -> float:
    started = time.perf_counter()
    await house.listeners.until_done(job.id, timeout_s)
    return time.perf_counter() - started


def test_a_job_that_has_ended_is_not_waited_for(house: House) -> None:
    job = add(house)
    end(house, job)
    assert asyncio.run(wait_s(house, job, 5.0)) < 1.0


def test_those_who_wait_are_told_within_milliseconds_of_the_end(house: House) -> None:
    async def late() -> list[float]:
        job, other = add(house), add(house)
        waits = [asyncio.create_task(wait_s(house, one, 5.0)) for one in (job, job, other)]
        await asyncio.sleep(0.2)
        end(house, job)
        ended = time.perf_counter()
        await asyncio.gather(*waits[:2])
        told = time.perf_counter() - ended
        assert not waits[2].done()
        end(house, other)
        await waits[2]
        return [told]

    assert asyncio.run(late())[0] < 0.15


def test_waiting_ends_when_the_time_is_over(house: House) -> None:
    assert 0.2 <= asyncio.run(wait_s(house, add(house), 0.2)) < 1.0
    assert asyncio.run(wait_s(house, add(house), 0)) < 0.2


def test_everyone_is_let_go_when_the_service_ends(house: House) -> None:
    async def close() -> float:
        waiting = asyncio.create_task(wait_s(house, add(house), 10.0))
        await asyncio.sleep(0.1)
        house.listeners.close()
        return await waiting

    assert asyncio.run(close()) < 1.0
    assert asyncio.run(wait_s(house, add(house), 10.0)) < 0.2


async def heard(house: House, job: Job, after: int = 0) -> list[JobEvent]:
    return [event async for event in house.listeners.follow(job.id, after)]


def test_old_and_new_events_are_told_in_order_and_the_end_is_the_last(house: House) -> None:
    async def listen() -> list[list[JobEvent]]:
        job, other = add(house), add(house)
        early = [asyncio.create_task(heard(house, one)) for one in (job, job, other)]
        await asyncio.sleep(0.1)
        with writing(house.engine) as connection:
            for n in range(5):
                add_event(connection, job.id, "progress", {"progress": n / 5}, now=time.time())
        late = asyncio.create_task(heard(house, job))
        await asyncio.sleep(0.1)
        end(house, other)
        end(house, job)
        return [*await asyncio.gather(*early, late), await heard(house, job)]

    first, second, other, late, later = asyncio.run(listen())
    assert [event.kind for event in first] == ["state", *["progress"] * 5, "done"]
    assert first == second == late == later
    assert [event.kind for event in other] == ["state", "done"]


def test_a_listener_goes_on_after_the_event_it_heard_last(house: House) -> None:
    job = add(house)
    end(house, job)
    first, last = asyncio.run(heard(house, job))
    assert asyncio.run(heard(house, job, first.id)) == [last]
    assert asyncio.run(heard(house, job, last.id)) == []


def test_no_event_is_lost_or_told_twice_however_writing_and_listening_interleave(house: House) -> None:
    job = add(house)

    def write() -> None:
        for n in range(200):
            with writing(house.engine, durable=False) as connection:
                add_event(connection, job.id, "progress", {"progress": n}, now=time.time())
        end(house, job)

    async def listen() -> list[list[JobEvent]]:
        writer = asyncio.create_task(asyncio.to_thread(write))
        tasks = []
        for _ in range(20):
            tasks.append(asyncio.create_task(heard(house, job)))
            await asyncio.sleep(0.005)
        await writer
        return await asyncio.gather(*tasks)

    for told in asyncio.run(listen()):
        assert [event.data["progress"] for event in told[1:-1]] == list(range(200))
        assert told[-1].ends


def test_listeners_are_let_go_when_the_service_ends(house: House) -> None:
    async def close() -> list[JobEvent]:
        listening = asyncio.create_task(heard(house, add(house)))
        await asyncio.sleep(0.1)
        house.listeners.close()
        return await asyncio.wait_for(listening, 1.0)

    assert [event.kind for event in asyncio.run(close())] == ["state"]
