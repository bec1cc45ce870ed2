"""Routes of operation: is the process alive, can the service work, and what do its error codes mean."""

import asyncio
import contextlib
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

import anyio
import redis.asyncio
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service.auth import Watcher
from service.db import now_in
from service.errors import CODES, Refused
from service.gate import draining
from service.house import House
from service.http import json_response
from service.jobs import State
from service.metrics import take_snapshot
from service.queue import has_ready_worker
from service.schemas import CodeView, HealthView, ReadyView
from service.tables import jobs

router = APIRouter()
SILENT_BEATS = 5
# A part that does not say how it is within so long hangs.
LOOK_S = 2.5
# Jobs take a second: who waits this long waits for something that does not happen.
LATE_S = 60.0
DEGRADED = "degraded: "
UNKNOWN = "not known while the database cannot be read"
REDIS_AWAY = "it cannot be reached; jobs are found in the database, a moment later"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>NN-Factory</title></head>
<body><h1>NN-Factory</h1>
<p>Generates small neural networks for edge devices. Post a scenario to <code>/models</code>.</p>
<ul><li><a href="/supernets">supernets</a></li><li><a href="/tasks">tasks</a></li>
<li><a href="/devices">devices</a></li><li><a href="/models">models</a></li><li><a href="/jobs">jobs</a></li>
<li><a href="/openapi.json">description of the interface</a></li></ul></body></html>
"""


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=HealthView)
async def healthz() -> Response:
    """Say that the process answers."""
    return json_response(HealthView(status="ok", version=version("nn-factory")))


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses={503: {"description": "not ready"}}, response_model=ReadyView)
async def readyz(request: Request) -> Response:
    """Say whether database, files and a worker are at hand and a device is measured.

    A check that begins with ``degraded: `` tells of what goes worse than it should, and does not keep scenarios away.
    """
    house: House = request.app.state.house
    if house.listeners.closed:
        raise draining()
    checks = await _checks(house)
    bad = sorted(name for name, state in checks.items() if state != "ok" and not state.startswith(DEGRADED))
    if bad:
        detail = "; ".join(f"{name}: {checks[name]}" for name in bad)
        raise Refused("not-ready", detail, headers={"Retry-After": "1"})
    return json_response(ReadyView(status="ready", checks=checks))


@router.get("/metrics", response_class=PlainTextResponse)
async def read_metrics(request: Request, caller: Watcher) -> Response:
    """Read figures for Prometheus: requests of this process, jobs of the whole service while the database is there."""
    house: House = request.app.state.house
    snapshot = None
    with contextlib.suppress(SQLAlchemyError):
        snapshot = await house.database.read(take_snapshot, SILENT_BEATS * house.settings.beat_s)
    text = house.metrics.text(house.database.errors, snapshot)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/problems/{code}", response_model=CodeView)
async def read_problem(code: str) -> Response:
    """Read what an error code means."""
    known = CODES.get(code)
    if known is None:
        raise Refused("not-found", "there is no such error code")
    view = CodeView(
        code=code,
        status=known.status,
        title=known.title,
        meaning=known.meaning,
        fault=known.fault,
        retryable=known.retryable,
    )
    return json_response(view)


@router.get("/", response_class=HTMLResponse)
async def home() -> Response:
    """Show where to begin."""
    headers = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(PAGE, headers=headers)


async def _checks(house: House) -> dict[str, str]:
    """Return how each part is, beside each other: one that hangs is said to, and holds up none of the others."""
    looks = {
        "database": _look_at_jobs(house),
        "store": _look_at_store(house),
        "devices": _look_at_devices(house),
    }
    if house.settings.redis_url is not None:
        looks["redis"] = _look_at_redis(house.settings.redis_url)
    found: dict[str, str] = {"queue": UNKNOWN, "worker": UNKNOWN}
    for told in await asyncio.gather(*(_within(name, look) for name, look in looks.items())):
        found |= told
    return found


async def _within(name: str, look: Coroutine[Any, Any, dict[str, str]]) -> dict[str, str]:
    try:
        async with asyncio.timeout(LOOK_S):
            return await look
    except TimeoutError:
        return {name: "does not answer" if name != "redis" else f"{DEGRADED}{REDIS_AWAY}"}


async def _look_at_jobs(house: House) -> dict[str, str]:
    try:
        has_worker, oldest_s = await house.database.read(_read_jobs, SILENT_BEATS * house.settings.beat_s)
    except SQLAlchemyError:
        return {"database": "cannot be read"}
    late = oldest_s is not None and oldest_s > LATE_S
    return {
        "database": "ok",
        "worker": "ok" if has_worker else "none is alive and ready",
        "queue": f"{DEGRADED}the oldest job has waited for {oldest_s:.0f} s" if late else "ok",
    }


def _read_jobs(connection: Connection, silent_s: float) -> tuple[bool, float | None]:
    """Return whether a worker is ready, and how long the oldest queued job has waited, s."""
    now = now_in(connection)
    waiting = select(jobs.c.created_at).where(jobs.c.state == State.QUEUED).order_by(jobs.c.id).limit(1)
    oldest = connection.scalar(waiting)
    return has_ready_worker(connection, since=now - silent_s), None if oldest is None else now - oldest


async def _look_at_store(house: House) -> dict[str, str]:
    try:
        await anyio.to_thread.run_sync(house.store.check, abandon_on_cancel=True)
    except OSError:
        return {"store": "cannot be written"}
    return {"store": "ok"}


async def _look_at_devices(house: House) -> dict[str, str]:
    """Say what is not measured: of a supernet that has just come this holds up nothing but itself."""
    faults = await run_in_threadpool(house.catalog.faults)
    if not faults:
        return {"devices": "ok"}
    waiting = all(fault.waits for fault in faults) and await run_in_threadpool(house.catalog.any_usable)
    told = "; ".join(str(fault) for fault in faults)
    return {"devices": f"{DEGRADED}{told}" if waiting else told}


async def _look_at_redis(url: str) -> dict[str, str]:
    try:
        async with redis.asyncio.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            await client.ping()
    except (redis.RedisError, OSError):
        return {"redis": f"{DEGRADED}{REDIS_AWAY}"}
    return {"redis": "ok"}
