"""Traces: what a request set going, from the request to the last phase of its job, told to an OpenTelemetry collector.

Off unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where to; then nothing of the SDK is loaded, and every method returns at
once. The job carries its request's ``traceparent`` (W3C Trace Context) from process to process.
"""

import os
import threading
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import SettingInvalid
from service.ids import new_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from service.jobs import Hold, Job

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# What was not sent yet when a process ends is given so long.
FLUSH_S = 2.0

_propagator = TraceContextTextMapPropagator()


class JobSpans:
    """The spans of one job in one worker: its own, and one for each phase within."""

    def __init__(self, tracer: Tracer | None = None, span: Span | None = None) -> None:
        self._tracer = tracer
        self._span = span
        self._phase: Span | None = None

    @property
    def trace_id(self) -> str | None:
        """The trace they belong to, hexadecimal; None where there are none."""
        return None if self._span is None else f"{self._span.get_span_context().trace_id:032x}"

    def begin(self, name: str) -> None:
        """Begin a phase."""
        if self._tracer is not None and self._span is not None:
            self._phase = self._tracer.start_span(name, context=set_span_in_context(self._span))

    def end(self, *, succeeded: bool = True) -> None:
        """End the present phase, if there is one."""
        if self._phase is not None:
            if not succeeded:
                self._phase.set_status(Status(StatusCode.ERROR))
            self._phase.end()
            self._phase = None

    def note(self, state: str, code: str | None = None, reused_from: str | None = None) -> None:
        """Say how the job ended: with the code of an error, or with the files of another job."""
        if self._span is not None:
            self._span.set_attributes(_named({"state": state, "code": code, "reused_from": reused_from}))
            if code is not None:
                self._span.set_status(Status(StatusCode.ERROR, code))

    def close(self) -> None:
        """End what has not ended."""
        self.end()
        if self._span is not None:
            self._span.end()


class Traces:
    """Begins the spans of one process."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        """Prepare.

        Args:
            provider: collects and sends spans; None begins none.
        """
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("nnfactory", version("nn-factory"))

    def begin_request(self, method: str, headers: Mapping[str, str]) -> Span | None:
        """Begin the span of a request, in the trace that its headers name or in a new one; None where there is none."""
        if self._tracer is None:
            return None
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        return self._tracer.start_span(
            method,
            context=_propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        )

    def begin_job(self, job: "Job", hold: "Hold") -> JobSpans:
        """Begin the span of a job that a worker has taken, within that of its request."""
        if self._tracer is None:
            return JobSpans()
        waited_s = (job.started_at or job.created_at) - job.created_at
        facts = {"job_id": job.id, "request_id": job.request_id, "tenant": job.tenant, "worker": hold.worker}
        span = self._tracer.start_span(
            "job",
            context=_propagator.extract({"traceparent": job.traceparent} if job.traceparent else {}),
            kind=SpanKind.CONSUMER,
            attributes={**_named(facts), "nnfactory.attempt": hold.attempt, "nnfactory.wait_s": waited_s},
        )
        return JobSpans(self._tracer, span)

    def close(self) -> None:
        """Send what is left, for a moment."""
        if self._provider is not None:
            # A collector that is away would hold this up for half a minute.
            last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
            last.start()
            last.join(FLUSH_S)


OFF = Traces()


def open_traces(environ: Mapping[str, str] = os.environ, *, name: str | None = None) -> Traces:
    """Return what begins the spans of this process.

    Args:
        environ: the environment; OpenTelemetry's own settings hold.
        name: tells this process from others.

    Raises:
        SettingInvalid: one of those settings cannot be used, or what sends traces is not installed.
    """
    if (
        not any(environ.get(one) for one in ENDPOINTS)
        or environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    ):
        return OFF
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingInvalid(
            f"{ENDPOINTS[0]} asks for traces, but nn-factory was installed without its extra telemetry; "
            "install it, or set OTEL_SDK_DISABLED=true"
        ) from None
    facts = {
        "service.name": environ.get("OTEL_SERVICE_NAME") or "nnfactory",
        "service.version": version("nn-factory"),
        "service.instance.id": name or new_id("api"),
    }
    try:
        provider = TracerProvider(resource=Resource.create(facts), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise SettingInvalid(f"a setting of OpenTelemetry (OTEL_...) cannot be used: {error}") from error
    return Traces(provider)


def traceparent_of(span: Span) -> str:
    """Return what names a span to others (W3C Trace Context)."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span))
    return carrier["traceparent"]


def end_request(span: Span, method: str, route: str, status: int, request_id: str | None) -> None:
    """End the span of a request that was answered."""
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    if request_id is not None:
        span.set_attribute("nnfactory.request_id", request_id)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _named(facts: Mapping[str, str | None]) -> dict[str, str]:
    return {f"nnfactory.{name}": value for name, value in facts.items() if value is not None}
