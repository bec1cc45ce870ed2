import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service.db import writing
from service.deliveries import Announcer, Deliveries
from service.house import House
from service.jobs import DONE, Job, State, add_job, get_job
from service.queue import waiting_since
from service.worker import Worker
from tests.servers import Redis
from tests.service.making import digest_of, scenario

Make = Callable[..., Worker]


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.remove()


@contextmanager
def deliveries(url: str, worker: str = "wrk_1") -> Iterator[Deliveries]:
    taking = Deliveries(url, worker)
    taking.start()
    try:
        yield taking
    finally:
        taking.stop()
        assert not taking.is_alive()


def announce(url: str, *job_ids: str) -> None:
    async def tell() -> None:
        announcer = Announcer(url)
        announcer.announce(job_ids)
        telling = asyncio.create_task(announcer.run())
        async with asyncio.timeout(20.0):
            await announcer.told()
        assert announcer.idle
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)

    asyncio.run(tell())


def add(house: House, **changes: object) -> Job:
    wanted = scenario(**changes)
    with writing(house.engine) as connection:
        return add_job(connection, wanted, digest=digest_of(wanted), request_id="req_1", now=time.time())


def wait_until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_is_announced_is_delivered_once_and_in_order(redis: Redis) -> None:
    announce(redis.url, "job_1", "job_2", "job_1")
    with deliveries(redis.url) as taking:
        found = []
        while (one := taking.next(2.0)) is not None:
            found.append(one.job_id)
            one.done()
    assert found == ["job_1", "job_2"]


def test_a_job_that_was_looked_at_may_be_announced_again(redis: Redis) -> None:
    with deliveries(redis.url) as taking:
        for _ in range(3):
            # What is announced while docket still notes the end of the last look counts as the same announcement.
            one, until = None, time.monotonic() + 30.0
            while one is None:
                assert time.monotonic() < until
                announce(redis.url, "job_1")
                one = taking.next(0.3)
            one.done()


def test_while_one_is_being_worked_on_another_worker_takes_the_next(redis: Redis) -> None:
    announce(redis.url, "job_1", "job_2")
    with deliveries(redis.url, "wrk_1") as one, deliveries(redis.url, "wrk_2") as other:
        found = [taking.next(5.0) for taking in (one, other)]
        assert {each and each.job_id for each in found} == {"job_1", "job_2"}
        assert one.next(0.5) is None
        for each in found:
            assert each is not None
            each.done()


def test_what_a_worker_that_is_gone_had_taken_is_delivered_to_another(redis: Redis) -> None:
    announce(redis.url, "job_1")
    with deliveries(redis.url, "wrk_1") as one:
        assert one.next(5.0) is not None
    with deliveries(redis.url, "wrk_2") as other:
        again = other.next(30.0)
        assert again is not None
        assert again.job_id == "job_1"
        again.done()


def test_deliveries_go_on_when_redis_was_away(redis: Redis) -> None:
    with deliveries(redis.url) as taking:
        announce(redis.url, "job_1")
        one = taking.next(5.0)
        assert one is not None
        one.done()
        redis.kill()
        assert taking.next(1.0) is None
        redis.start()
        announce(redis.url, "job_2")
        one = taking.next(20.0)
        assert one is not None
        one.done()


def test_nothing_waits_or_fails_when_redis_is_away() -> None:
    async def tell() -> float:
        announcer = Announcer("redis://127.0.0.1:1/0")
        telling = asyncio.create_task(announcer.run())
        began = time.perf_counter()
        for _ in range(20_000):
            announcer.announce(["job_1"])
        took = time.perf_counter() - began
        await asyncio.sleep(0.2)
        assert not telling.done()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        return took

    assert asyncio.run(tell()) < 1.0


def test_a_worker_does_what_is_delivered_at_once(house: House, worker_with: Make, redis: Redis) -> None:
    with worked(house, worker_with, redis):
        # The worker has looked at the database by now and would only do so again in a while.
        time.sleep(1.0)
        job = add(house)
        began = time.monotonic()
        announce(redis.url, job.id)
        wait_until(lambda: state(house, job) in DONE)
        assert time.monotonic() - began < 5.0
        assert state(house, job) is State.SUCCEEDED


def test_what_was_never_delivered_is_done_all_the_same(house: House, worker_with: Make, redis: Redis) -> None:
    found = [add(house, limits={"latency_ms": 1 + number}) for number in range(5)]
    redis.kill()
    with worked(house, worker_with, redis, beat_s=0.1):
        wait_until(lambda: all(state(house, job) is State.SUCCEEDED for job in found))


def test_the_oldest_that_wait_for_long_are_found(house: House) -> None:
    old = [add(house).id for _ in range(3)]
    now = time.time()
    with writing(house.engine) as connection:
        assert waiting_since(connection, before=now + 1, limit=2) == old[:2]
        assert waiting_since(connection, before=now - 60, limit=2) == []


def state(house: House, job: Job) -> State:
    with writing(house.engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    return found.state


@contextmanager
def worked(house: House, worker_with: Make, redis: Redis, beat_s: float = 30.0) -> Iterator[None]:
    import threading
    from dataclasses import replace

    worker = worker_with()
    worker._settings = replace(house.settings, beat_s=beat_s)
    with deliveries(redis.url) as taking:
        thread = threading.Thread(target=worker.run, args=(taking,))
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            announce(redis.url, "job_end") if redis.process else None
            thread.join(timeout=40)
            assert not thread.is_alive()
