"""Routes of operation: is the process alive, can the service work, and what do its error codes mean."""

import time
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from service.errors import CODES, Refused
from service.house import House
from service.http import json_response
from service.queue import has_ready_worker
from service.schemas import CodeView, HealthView, ReadyView

router = APIRouter()
SILENT_BEATS = 5
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>NN-Factory</title></head>
<body><h1>NN-Factory</h1>
<p>Generates small neural networks for edge devices. Post a scenario to <code>/models</code>.</p>
<ul><li><a href="/supernets">supernets</a></li><li><a href="/tasks">tasks</a></li>
<li><a href="/devices">devices</a></li><li><a href="/models">models</a></li><li><a href="/jobs">jobs</a></li>
<li><a href="/openapi.json">description of the interface</a></li></ul></body></html>
"""


@router.get("/healthz", response_model=HealthView)
async def healthz() -> Response:
    """Say that the process answers."""
    return json_response(HealthView(status="ok", version=version("nn-factory")))


@router.get("/readyz", responses={503: {"description": "not ready"}}, response_model=ReadyView)
async def readyz(request: Request) -> Response:
    """Say whether database, files and a worker are at hand and every device is measured."""
    checks = await _checks(request.app.state.house)
    bad = sorted(name for name, state in checks.items() if state != "ok")
    if bad:
        detail = "; ".join(f"{name}: {checks[name]}" for name in bad)
        raise Refused("not-ready", detail, headers={"Retry-After": "1"})
    return json_response(ReadyView(status="ready", checks=checks))


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
    checks = {"database": "ok", "store": "ok", "devices": "ok", "worker": "none is alive and ready"}
    try:
        if await house.database.read(_finds_worker, time.time() - SILENT_BEATS * house.settings.beat_s):
            checks["worker"] = "ok"
    except SQLAlchemyError:
        checks["database"] = "cannot be read"
    try:
        await run_in_threadpool(house.store.check)
    except OSError:
        checks["store"] = "cannot be written"
    if faults := await run_in_threadpool(house.catalog.faults):
        checks["devices"] = "; ".join(faults)
    return checks


def _finds_worker(connection: Connection, since: float) -> bool:
    connection.execute(text("SELECT 1 FROM jobs LIMIT 1"))
    return has_ready_worker(connection, since=since)
