import asyncio
import time

from service.db import writing
from service.house import House
from service.jobs import Job, State, add_job, move
from tests.service.making import scenario


def add(house: House) -> Job:
    with writing(house.engine) as connection:
        return add_job(connection, scenario(), digest=None, request_id="req_1", now=time.time())


def end(house: House, job: Job) -> None:
    with writing(house.engine) as connection:
        move(connection, job.id, State.CANCELLED, now=time.time())


async def wait_s(house: House, job: Job, timeout_s: float) -> float:
    started = time.perf_counter()
    await house.waiters.until_done(job.id, timeout_s)
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
        house.waiters.close()
        return await waiting

    assert asyncio.run(close()) < 1.0
    assert asyncio.run(wait_s(house, add(house), 10.0)) < 0.2
