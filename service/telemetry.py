"""Telemetry of requests: each is timed and counted and, where that is wanted, traced and written down."""

import logging
import time

from opentelemetry.trace import Span
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth import Caller
from service.logs import about
from service.metrics import Metrics
from service.traces import OFF, Traces, end_request, traceparent_of

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE, OTHER = "none", "other"
# Asked all the time by machines: no traces.
PROBED = frozenset({"/healthz", "/readyz", "/metrics"})
# The client was gone before there was an answer; no status of HTTP, but the one that proxies write down.
GONE = 499

log = logging.getLogger("service.access")


class Telemetry:
    """Stands around the application, and sees when a request came and how it was answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: Traces = OFF, *, access_log: bool) -> None:
        """Prepare.

        Args:
            app: what answers.
            metrics: of this process.
            traces: of this process.
            access_log: whether a line is logged for each request.
        """
        self._app = app
        self._metrics = metrics
        self._traces = traces
        self._access_log = access_log
        if access_log:
            log.setLevel(logging.INFO)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        method = scope["method"] if scope["method"] in METHODS else OTHER
        span = None if scope["path"] in PROBED else self._traces.begin_request(method, Headers(scope=scope))

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._metrics.note_request(method, route_of(scope), status, time.perf_counter() - began)
            await send(message)

        try:
            await self._pass_on(span, scope, receive, send_seen)
        finally:
            took_s, route = time.perf_counter() - began, route_of(scope)
            if not status:
                status = GONE
                self._metrics.note_request(method, route, status, took_s)
            if span is not None:
                end_request(span, method, route, status, scope.get("state", {}).get("request_id"))
            if self._access_log:
                _write_down(scope, method, status, took_s)

    async def _pass_on(self, span: Span | None, scope: Scope, receive: Receive, send: Send) -> None:
        if span is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["traceparent"] = traceparent_of(span)
        with about(trace_id=f"{span.get_span_context().trace_id:032x}"):
            await self._app(scope, receive, send)


def route_of(scope: Scope) -> str:
    """Return the address of the route that a request came to, as it is in the description of the interface."""
    path = getattr(scope.get("route"), "path_format", None)
    if path is None and "endpoint" in scope:
        # The framework's own route has no other address.
        path = "/openapi.json" if scope["path"] == "/openapi.json" else None
    return path or NO_ROUTE


def _write_down(scope: Scope, method: str, status: int, took_s: float) -> None:
    """Log one request: by its route, never by what the client wrote."""
    state = scope.get("state", {})
    caller: Caller | None = state.get("caller")
    fields = {
        "method": method,
        "route": route_of(scope),
        "status": status,
        "duration_ms": round(took_s * 1000, 1),
        "request_id": state.get("request_id"),
        "tenant": caller and caller.tenant,
        "key_id": caller and caller.actor.key_id,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    told = " ".join(
        f"{name}={value}" for name, value in known.items() if name not in ("method", "route", "status")
    )
    log.info("%s %s %d %s", method, fields["route"], status, told, extra=known)
