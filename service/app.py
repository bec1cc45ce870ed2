"""The HTTP application: routes, one shape for every error, and a request id on every answer."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from anyio import BrokenResourceError
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assembler.device import StoredProfile
from assembler.errors import AssemblerError
from assembler.scenario import Scenario, Survey
from service import (
    admin,
    batches,
    downloads,
    events,
    health,
    notices,
    offers,
    registry,
    reporting,
    routes,
    survey,
)
from service.audit import forget_entries, has_old_entries
from service.backlog import count_backlog
from service.caretaker import take_care
from service.courier import Courier
from service.db import is_embedded, now_in
from service.errors import CODES, Refused, problem, refusal
from service.figures import add_up, has_ended
from service.gate import Gate, Gatekeeper
from service.house import House
from service.idempotency import forget_repeats, has_old_repeats
from service.ids import FORM, new_id
from service.logs import about
from service.profiles import keep_profiles, newest_profiles
from service.queue import needs_sweep, sweep, waiting_since
from service.schemas import ProblemView
from service.settings import Settings
from service.telemetry import Telemetry
from service.traces import OFF, Traces
from service.webhooks import forget_old_secrets, has_old_secrets
from supernet.errors import CheckpointDamaged

if TYPE_CHECKING:
    from service.rates import Rates

ROUTERS: tuple[APIRouter, ...] = (
    routes.router,
    survey.router,
    batches.router,
    events.router,
    downloads.router,
    reporting.router,
    notices.router,
    offers.router,
    registry.router,
    admin.router,
    health.router,
)
ANNOUNCED_AGAIN_S = 5.0
ANNOUNCED_AT_ONCE = 100
ADDED_AT_ONCE = 20
# How long the end of a process waits for Redis to hear of the last jobs.
TELL_S = 1.0
PROBLEM = "application/problem+json"
STATUS_CODES = {404: "not-found", 405: "method-not-allowed", 406: "not-acceptable", 413: "body-too-large"}
WENT_AWAY = "request %s: the client went away"

log = logging.getLogger(__name__)


def create_app(house: House, traces: Traces = OFF) -> FastAPI:
    """Return the application of a house, whose requests are traced."""
    app = FastAPI(
        title="NN-Factory",
        version=version("nn-factory"),
        description="Generates small neural networks for edge devices from a modular supernet.",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.house = house
    app.state.gate = Gate(house.database, required=house.settings.auth_required)
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for kind in (Refused, AssemblerError):
        app.add_exception_handler(kind, _on_error)
    app.state.rates = _rates(house.settings)
    app.add_middleware(
        Gatekeeper,
        gate=app.state.gate,
        rates=app.state.rates,
        is_draining=lambda: house.listeners.closed,
    )
    app.add_middleware(Outermost)
    app.add_middleware(Telemetry, metrics=house.metrics, traces=traces, access_log=house.settings.access_log)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _rates(settings: Settings) -> "Rates | None":
    if settings.rate_limit is None:
        return None
    # Not at the head of the file: it takes a tenth of a start, and most have no limit.
    from service.rates import Rates

    return Rates(settings.rate_limit, settings.redis_url)


class Outermost:
    """Gives every request an id, and answers what nobody else caught with a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        started = left = False

        async def receive_seen() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with about(request_id=request_id):
            try:
                await self._app(scope, receive_seen, send_with_id)
            except ClientDisconnect:
                log.info(WENT_AWAY, request_id)
            except Refused as refused:
                await _answer(Request(scope), refused)(scope, receive, send_with_id)
            except Exception as error:
                if left and _is_unread(error):
                    log.info(WENT_AWAY, request_id)
                    return
                log.exception("request %s failed", request_id)
                if started:
                    raise
                await _answer(Request(scope), refusal(error))(scope, receive, send_with_id)


def _is_unread(error: Exception) -> bool:
    """Return whether an error is no other than that nobody reads what is streamed."""
    if isinstance(error, ExceptionGroup):
        return all(map(_is_unread, error.exceptions))
    return isinstance(error, BrokenResourceError)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    house: House = app.state.house
    gate: Gate = app.state.gate
    courier = Courier(house.database, house.settings.webhook_allow)
    work = (_keep_sweeping(house, gate), _load(house), house.announcer.run(), take_care(house), courier.run())
    tasks = [asyncio.create_task(act) for act in work]
    try:
        yield
    finally:
        house.listeners.close()
        # What is not told is found all the same, a little later.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_S):
                await house.announcer.told()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await gate.settle(at_once=True)
        except Exception:
            log.exception("the last uses of keys could not be written")
        if app.state.rates is not None:
            await app.state.rates.close()
        await house.database.close()


async def _load(house: House) -> None:
    """Load what checks need once the process already answers."""
    try:
        await run_in_threadpool(house.catalog.load)
    except CheckpointDamaged as error:
        log.error("%s", error)


async def _keep_sweeping(house: House, gate: Gate) -> None:
    """End jobs past their deadline, and take back those of silent workers, also when no worker lives."""
    while True:
        await asyncio.sleep(house.settings.beat_s)
        for act, failed in (
            (_sweep, "the queue could not be swept"),
            (_count, "the backlog could not be counted"),
            (_add_up, "figures could not be added up"),
            (_announce_again, "jobs could not be announced again"),
            (_look, "supernets could not be looked for"),
            (_forget, "old keys could not be forgotten"),
            (_forget_secrets, "old secrets of webhooks could not be removed"),
            (_forget_audit, "old entries of the audit log could not be forgotten"),
            (_fetch_profiles, "the profiles of other machines could not be fetched"),
            (lambda _: gate.settle(), "the last uses of keys could not be written"),
        ):
            try:
                await act(house)
            except Exception:
                log.exception(failed)


async def _count(house: House) -> None:
    await house.database.read(count_backlog, house.backlog)


async def _add_up(house: House) -> None:
    """Add jobs that have ended to the figures of all, unless there are very many at once."""
    for _ in range(ADDED_AT_ONCE):
        if not await house.database.read(has_ended) or not await house.database.note(add_up):
            return


async def _announce_again(house: House) -> None:
    """Announce what waits for long: Redis may have lost it. Those that it knows it does not deliver twice."""
    if house.settings.redis_url is not None and house.announcer.idle:
        house.announcer.announce(await house.database.read(_waiting_long))


def _waiting_long(connection: Connection) -> list[str]:
    return waiting_since(connection, before=now_in(connection) - ANNOUNCED_AGAIN_S, limit=ANNOUNCED_AT_ONCE)


async def _fetch_profiles(house: House) -> None:
    if not is_embedded(house.engine):
        found = await house.database.read(newest_profiles)
        await run_in_threadpool(keep_profiles, found, house.settings.data_dir)


async def _look(house: House) -> None:
    await run_in_threadpool(house.catalog.look)


async def _forget(house: House) -> None:
    await _do_if(house, has_old_repeats, forget_repeats)


async def _forget_secrets(house: House) -> None:
    await _do_if(house, has_old_secrets, forget_old_secrets)


async def _forget_audit(house: House) -> None:
    kept_s = house.settings.audit_days * 24 * 3600
    await _do_if(
        house,
        lambda connection, *, now: has_old_entries(connection, before=now - kept_s),
        lambda connection, *, now: forget_entries(connection, before=now - kept_s),
    )


async def _sweep(house: House) -> None:
    await _do_if(house, needs_sweep, sweep)


class _Timely(Protocol):
    def __call__(self, connection: Connection, *, now: float) -> Any: ...


async def _do_if(house: House, needed: _Timely, act: _Timely) -> None:
    """Do something where there is need of it: to look costs others nothing. Both are told the database's time."""
    if await house.database.read(lambda connection: needed(connection, now=now_in(connection))):
        await house.database.write(lambda connection: act(connection, now=now_in(connection)))


def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses."""
    assert isinstance(error, HTTPException)
    code = STATUS_CODES.get(error.status_code, "internal" if error.status_code >= 500 else "bad-request")
    headers, detail = dict(error.headers or {}), CODES[code].meaning
    if code == "method-not-allowed":
        headers = {"Allow": ", ".join(sorted(_methods(request.url.path)))}
    if code == "not-found" and (absent := _absent(request)) is not None:
        detail = f"there is no such {absent}"
    return _answer(request, Refused(code, detail, headers=headers))


def _on_error(request: Request, error: Exception) -> Response:
    return _answer(request, refusal(error))


def _answer(request: Request, refused: Refused) -> Response:
    request_id = request.state.request_id
    body = problem(
        refused.code,
        refused.detail,
        instance=f"urn:nn-factory:{request_id}",
        request_id=request_id,
        problems=refused.problems,
    )
    headers, house = refused.headers, request.app.state.house
    house.metrics.note_problem(refused.code)
    if body["status"] == 503:
        headers = {"Retry-After": "1", **headers}
    return JSONResponse(body, body["status"], headers, media_type=PROBLEM)


def _methods(path: str) -> set[str]:
    """Return the methods of an address, over all routes that share it."""
    if path == "/openapi.json":
        return {"GET", "HEAD"}
    found: set[str] = set()
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, Route) and route.path_regex.match(path):
                found |= set(route.methods or ())
    return found


def _absent(request: Request) -> str | None:
    """Return what it is that is asked for by a text which can be no id of one, None at other addresses."""
    for router in ROUTERS:
        for route in router.routes:
            if not isinstance(route, Route) or request.method not in (route.methods or ()):
                continue
            any_text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path_format)
            if found := re.fullmatch(any_text, request.url.path):
                names = (name for name, text in found.groupdict().items() if not re.fullmatch(FORM, text))
                return next((name.removesuffix("_id") for name in names if name.endswith("_id")), None)
    return None


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the description of the interface: scenarios, and problems for every error."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (Scenario, Survey, StoredProfile, ProblemView):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            known.update(described.pop("$defs", {}))
            known[model.__name__.removesuffix("View")] = described
        _describe_problems(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _describe_problems(schema: dict[str, Any]) -> None:
    answer = {
        "description": "a problem, RFC 9457",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in schema["paths"].values():
        for operation in path.values():
            # Routes check their parameters themselves: the framework's own 422 never happens.
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = answer
            if "security" in operation:
                for status, meaning in (
                    ("401", "no good key"),
                    ("403", "a key without the scope"),
                    ("429", "too many requests, or too many jobs that wait"),
                ):
                    operation["responses"][status] = {"description": meaning}
            for status, described in operation["responses"].items():
                if status.startswith("4"):
                    described["content"] = answer["content"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
