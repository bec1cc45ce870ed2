"""Rates: how many requests a tenant may send in a time, counted by the library `limits`.

The count is kept in this process, or in Redis for many. It protects the service from clients, it is no secret: while
Redis is away, nobody is held up.
"""

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool

from service.errors import Refused

PREFIX = "nnf-rates"
ANSWER_S = 0.5
# After Redis did not answer, it is left alone for so long.
PAUSE_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Share:
    """What is left to a tenant: so many of ``limit`` requests in ``window_s``; more come in ``reset_s``."""

    limit: int
    window_s: int
    left: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The headers that tell of it (draft-ietf-httpapi-ratelimit-headers)."""
        policy = f'"requests";q={self.limit};w={self.window_s}'
        return {"RateLimit-Policy": policy, "RateLimit": f'"requests";r={self.left};t={self.reset_s}'}


class Rates:
    """Counts the requests of tenants."""

    def __init__(self, rate: str, redis_url: str | None = None) -> None:
        """Begin to count.

        Args:
            rate: such as ``100/second``.
            redis_url: of the Redis that processes share; None where there is one process.
        """
        self._item = parse_rate(rate)
        self._pool = None if redis_url is None else _pool(redis_url)
        self._limiter = SlidingWindowCounterRateLimiter(_storage(self._pool))
        self._ask_at = 0.0

    async def take(self, tenant: str) -> Share | None:
        """Count a request and return what is left, None where that cannot be known now.

        Raises:
            Refused: there were too many.
        """
        if time.monotonic() < self._ask_at:
            return None
        try:
            taken = await self._limiter.hit(self._item, tenant)
            stats = await self._limiter.get_window_stats(self._item, tenant)
        except (StorageError, OSError) as error:
            log.warning("requests cannot be counted now: %s", type(error).__name__)
            self._ask_at = time.monotonic() + PAUSE_S
            return None
        reset_s = max(1, math.ceil(stats.reset_time - time.time()))
        share = Share(self._item.amount, self._item.get_expiry(), stats.remaining if taken else 0, reset_s)
        if not taken:
            headers = {**share.headers, "Retry-After": str(reset_s)}
            raise Refused("rate-limited", "there were too many requests in a short time", headers=headers)
        return share

    async def close(self) -> None:
        """Let go of Redis."""
        if self._pool is not None:
            await self._pool.disconnect()


def parse_rate(text: str) -> RateLimitItem:
    """Return a rate such as ``100/second`` or ``5 per 10 minutes``.

    Raises:
        ValueError: it is none, or several.
    """
    (item,) = parse_many(text)
    if not 0 < item.amount < 10**9:
        raise ValueError("no request would be allowed")
    return item


def _pool(url: str) -> ConnectionPool:
    return ConnectionPool.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)


def _storage(pool: ConnectionPool | None) -> Storage:
    if pool is None:
        return MemoryStorage()
    options: dict[str, Any] = {"implementation": "redispy", "connection_pool": pool, "key_prefix": PREFIX}
    # The address stands for the kind of server alone: the pool knows where it is.
    return RedisStorage("async+redis://pool:0", wrap_exceptions=True, **options)
