import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Engine, func, insert, select

from service.db import Database, reading, writing
from service.jobs import JobEvent, State, add_event, add_job, move
from service.tables import workers
from service.watch import FileWatch, News, Ticks, open_news, open_watch
from tests.servers import ON_BOTH_DATABASES, Postgres
from tests.service.making import scenario

WORKER = {"host": "h", "pid": 1, "started_at": 0.0, "seen_at": 0.0, "ready": False}


@asynccontextmanager
async def news_of(database: Database) -> AsyncIterator[News]:
    news = open_news(database)
    await news.start()
    try:
        yield news
    finally:
        await news.close()
        await database.close()


async def gather(news: News, wanted: list[str], count: int) -> list[JobEvent]:
    found: dict[int, JobEvent] = {}
    until = time.monotonic() + 20
    while len(found) < count and time.monotonic() < until:
        found |= {event.id: event for event in await news.next(lambda: wanted)}
    return list(found.values())


def add(engine: Engine) -> str:
    with writing(engine) as connection:
        return add_job(connection, scenario(), digest=None, request_id="req_1", now=1.0).id


def test_a_watch_notices_what_others_write_and_nothing_else(engine: Engine) -> None:
    watch = FileWatch(engine)
    assert not watch.changed()
    with reading(engine) as connection:
        connection.scalar(select(func.count()).select_from(workers))
    assert not watch.changed()
    with writing(engine) as connection:
        connection.execute(insert(workers).values(id="w", **WORKER))
    assert watch.changed()
    assert not watch.changed()
    watch.close()


@ON_BOTH_DATABASES
def test_who_looks_for_work_is_soon_told_to_look_again(engine: Engine) -> None:
    watch = open_watch(engine)
    watch.changed()
    add(engine)
    until = time.monotonic() + 5
    while not watch.changed():
        assert time.monotonic() < until
        time.sleep(0.005)
    watch.close()


def test_ticks_are_not_faster_than_they_should_be() -> None:
    ticks, began, count = Ticks(), time.monotonic(), 0
    while time.monotonic() < began + 0.5:
        count += ticks.changed()
    assert 1 <= count <= 10


@ON_BOTH_DATABASES
def test_news_are_what_is_written_after_the_start_in_the_order_of_each_job(database: Database) -> None:
    async def listen() -> None:
        one, other = add(database.engine), add(database.engine)
        async with news_of(database) as news:
            with writing(database.engine) as connection:
                for number in range(3):
                    add_event(connection, one, "progress", {"progress": number}, now=2.0)
                    add_event(connection, other, "progress", {"progress": number}, now=2.0)
                move(connection, one, State.CANCELLED, now=3.0)
            found = [event for event in await gather(news, [one], 5) if event.job_id == one]
            told = [event.data for event in found if event.kind != "state"]
            assert told == [*({"progress": number} for number in range(3)), {"state": "cancelled"}]

    asyncio.run(listen())


@ON_BOTH_DATABASES
def test_what_failed_is_no_news(database: Database) -> None:
    async def listen() -> None:
        one = add(database.engine)
        async with news_of(database) as news:
            try:
                with writing(database.engine) as connection:
                    add_event(connection, one, "progress", {"progress": 1}, now=2.0)
                    raise RuntimeError
            except RuntimeError:
                pass
            with writing(database.engine) as connection:
                add_event(connection, one, "progress", {"progress": 2}, now=2.0)
            found: list[JobEvent] = []
            while {"progress": 2} not in [event.data for event in found]:
                found += await gather(news, [one], 1)
            assert {"progress": 1} not in [event.data for event in found]

    asyncio.run(listen())


def test_news_go_on_when_a_server_was_away_meanwhile(own_postgres: Postgres, own_database: Database) -> None:
    async def listen() -> None:
        one = add(own_database.engine)
        async with news_of(own_database) as news:
            await gather(news, [one], 1)
            own_postgres.stop()
            failed = 0
            for _ in range(3):
                try:
                    await news.next(lambda: [one])
                except Exception:
                    failed += 1
            assert failed
            own_postgres.start()
            with writing(own_database.engine) as connection:
                add_event(connection, one, "progress", {"progress": 7}, now=2.0)
            found = await gather(news, [one], 2)
            assert found[-1].data == {"progress": 7}

    asyncio.run(listen())
