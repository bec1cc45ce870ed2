import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from service.app import create_app
from service.errors import Refused
from service.house import House
from service.queue import FULL_RETRY_S
from service.rates import Rates, Share, parse_rate
from service.worker import Worker
from tests.servers import Redis, free_port
from tests.service.making import ask, body, new_key, with_auth


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.remove()


async def take(rates: Rates, tenant: str, times: int) -> tuple[list[Share | None], Refused | None]:
    """Return what was left each time, and what the last of them was refused with."""
    found: list[Share | None] = []
    try:
        for _ in range(times):
            found.append(await rates.take(tenant))
    except Refused as refused:
        return found, refused
    return found, None


def test_requests_are_counted_by_tenant_until_there_are_too_many() -> None:
    rates = Rates("3/hour")

    async def run() -> None:
        found, refused = await take(rates, "acme", 4)
        assert [share and share.left for share in found] == [2, 1, 0]
        assert refused is not None
        assert refused.code == "rate-limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600
        assert refused.headers["RateLimit-Policy"] == '"requests";q=3;w=3600'
        assert refused.headers["RateLimit"].startswith('"requests";r=0;t=')
        assert (await take(rates, "zeta", 3))[1] is None

    asyncio.run(run())


def test_processes_that_share_redis_share_the_count(own_redis: Redis) -> None:
    async def run() -> None:
        one, other = (Rates("3/hour", own_redis.url) for _ in range(2))
        assert (await take(one, "acme", 2))[1] is None
        found, refused = await take(other, "acme", 2)
        assert [share and share.left for share in found] == [0]
        assert refused is not None
        await one.close()
        await other.close()

    asyncio.run(run())


def test_nobody_is_held_up_while_redis_is_away() -> None:
    async def run() -> None:
        rates = Rates("1/hour", f"redis://127.0.0.1:{free_port()}/0")
        assert await take(rates, "acme", 3) == ([None] * 3, None)
        await rates.close()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["", "100", "100/s", "0/second", "-1/second", "1/second;2/minute", "many"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)
    assert parse_rate("100/second").amount == 100


def test_answers_tell_what_is_left_and_health_is_no_part_of_it(house: House) -> None:
    limited = with_auth(house, rate_limit="2/hour")
    app = create_app(limited)
    (_, acme), (_, zeta) = new_key(house, "acme"), new_key(house, "zeta")
    answers = [ask(app, "GET", "/jobs", headers=acme) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit"][:14] for answer in answers] == [
        f'"requests";r={left}' for left in (1, 0, 0)
    ]
    refused = answers[-1]
    assert (refused.json()["code"], refused.json()["retryable"]) == ("rate-limited", True)
    assert int(refused.headers["retry-after"]) >= 1
    for path in ("/healthz", "/problems/rate-limited"):
        assert ask(app, "GET", path, headers=acme).status_code == 200
    assert ask(app, "GET", "/jobs", headers=zeta).status_code == 200


def test_so_many_jobs_of_a_tenant_may_wait(house: House, worker_with: Callable[[], Worker]) -> None:
    app = create_app(with_auth(house, tenant_jobs=3))
    (_, acme), (_, zeta) = new_key(house, "acme"), new_key(house, "zeta")

    def submit(header: dict[str, str], count: int = 1) -> Any:
        return ask(app, "POST", "/models/batch", json=[body()] * count, headers=header)

    assert submit(acme, 2).status_code == 202
    full = submit(acme, 2)
    assert (full.status_code, full.json()["code"]) == (429, "quota-exceeded")
    assert full.headers["retry-after"] == str(FULL_RETRY_S)
    assert full.headers["ratelimit"] == '"waiting-jobs";r=1'
    assert ask(app, "POST", "/models", json=body(), headers=acme).status_code == 202
    assert ask(app, "POST", "/models", json=body(), headers=acme).status_code == 429
    never = submit(acme, 4)
    assert (never.status_code, never.json()["code"], never.json()["retryable"]) == (
        413,
        "batch-too-large",
        False,
    )
    assert submit(zeta, 3).status_code == 202
    worker = worker_with()
    while worker.work_once():
        pass
    assert submit(acme, 3).status_code == 202


def test_without_keys_all_are_one_tenant(house: House) -> None:
    app = create_app(replace(house, settings=replace(house.settings, tenant_jobs=1)))
    assert [ask(app, "POST", "/models", json=body()).status_code for _ in range(2)] == [202, 429]
