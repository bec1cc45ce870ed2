"""A request, its job and the job's phases form one trace, as a real collector is told over a socket."""

import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.app import create_app
from service.db import reading
from service.errors import SettingInvalid
from service.house import House
from service.jobs import get_job
from service.pulse import Pulse
from service.traces import OFF, Traces, open_traces
from service.worker import Worker
from tests.servers import free_port
from tests.service.making import Building, ask, body, write_member
from tests.service.process import ROOT, running, wait_until
from tests.service.receiver import Receiver, receiving

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving(lambda _: (200, {})) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url(path=""))
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield receiver


def told(collector: Receiver) -> list[dict[str, Any]]:
    """Return all spans that a collector was sent, with the instance that sent each."""
    assert set(collector.paths) <= {"/v1/traces"}
    found = []
    for content in list(collector.bodies):
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            whose = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    about = {
                        one.key: one.value.string_value or one.value.int_value for one in span.attributes
                    }
                    found.append({"span": span, "about": about, "whose": whose})
    return found


def named(spans: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [one for one in spans if one["span"].name == name]
    return found


def test_a_submit_and_its_phases_are_one_trace_across_processes(tmp_path: Path, collector: Receiver) -> None:
    zoo = write_member(tmp_path / "zoo" / "clothes").parent
    with running(tmp_path / "data", zoo) as house:
        house.wait_ready()
        answer = house.client.post("/models", json=body(name="quick"), headers={"traceparent": CALLER})
        job = answer.json()
        wait_until(lambda: house.client.get(f"/jobs/{job['id']}").json()["done"])
        wait_until(lambda: {"job", "POST /models"} <= {one["span"].name for one in told(collector)})
    spans = [one for one in told(collector) if one["span"].trace_id.hex() == CALLER.split("-")[1]]
    request, work = named(spans, "POST /models"), named(spans, "job")
    assert request["span"].parent_span_id.hex() == CALLER.split("-")[2]
    assert work["span"].parent_span_id == request["span"].span_id
    phases = [one for one in spans if one["span"].parent_span_id == work["span"].span_id]
    phases.sort(key=lambda one: one["span"].start_time_unix_nano)
    assert [one["span"].name for one in phases] == ["assembling", "compiling", "storing"]
    assert len(spans) == 2 + len(phases)
    assert request["whose"]["service.name"] == work["whose"]["service.name"] == "nnfactory"
    assert work["whose"]["service.instance.id"].startswith("wrk_")
    assert request["whose"]["service.instance.id"] != work["whose"]["service.instance.id"]
    assert (request["about"]["http.route"], request["about"]["http.response.status_code"]) == ("/models", 202)
    assert request["about"]["nnfactory.request_id"] == answer.headers["x-request-id"]
    assert (work["about"]["nnfactory.job_id"], work["about"]["nnfactory.state"]) == (job["id"], "succeeded")
    begin, end = work["span"].start_time_unix_nano, work["span"].end_time_unix_nano
    assert all(
        begin <= one["span"].start_time_unix_nano <= one["span"].end_time_unix_nano <= end for one in phases
    )
    # Nobody wants to see how often it was asked whether the service lives.
    assert not [one for one in told(collector) if "readyz" in one["span"].name]


@pytest.fixture
def kept() -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider), exporter


def worker_of(house: House, traces: Traces, building: Building) -> Worker:
    pulse = Pulse(house.engine, house.settings, "wrk_1")
    return Worker(house.settings, house.engine, house.store, building, pulse, "wrk_1", traces)


def test_jobs_that_fail_and_twins_end_their_spans(
    house: House, kept: tuple[Traces, InMemorySpanExporter]
) -> None:
    traces, exporter = kept
    app = create_app(house, traces)
    for path, content in (("/models/batch", [body(), body()]), ("/models", body(name="x", verify=False))):
        assert ask(app, "POST", path, json=content).status_code == 202

    def build(scenario: Any) -> Iterator[Any]:
        for step in Building().build(scenario):
            yield step
            if not scenario.verify:
                raise RuntimeError("it went wrong")

    worker = worker_of(house, traces, Building(build))
    while worker.work_once():
        pass
    spans = exporter.get_finished_spans()
    assert Counter(one.name for one in spans) == {
        "POST /models/batch": 1,
        "POST /models": 1,
        "job": 3,
        "assembling": 2,
        "compiling": 1,
        "storing": 1,
    }
    jobs = [one for one in spans if one.name == "job"]
    ends = sorted((one.attributes["nnfactory.state"], one.status.is_ok) for one in jobs)
    assert ends == [("failed", False), ("succeeded", True), ("succeeded", True)]
    assert len({one.context.trace_id for one in spans}) == 2
    (twin,) = [one for one in jobs if "nnfactory.reused_from" in one.attributes]
    assert twin.attributes["nnfactory.reused_from"].startswith("job_")


def test_a_request_without_a_trace_begins_one_and_a_made_up_one_is_not_taken(
    house: House, kept: tuple[Traces, InMemorySpanExporter]
) -> None:
    traces, exporter = kept
    app = create_app(house, traces)
    for header in ({}, {"traceparent": "00-" + "0" * 32 + "-1-1"}, {"traceparent": "x" * 5000}):
        assert ask(app, "GET", "/jobs", headers=header).status_code == 200
    assert ask(app, "GET", "/nothing").status_code == 404
    spans = exporter.get_finished_spans()
    assert [one.parent for one in spans] == [None] * 4
    assert [one.name for one in spans] == ["GET /jobs"] * 3 + ["GET none"]


def test_without_the_setting_there_are_no_spans_and_nothing_is_loaded(house: House) -> None:
    assert open_traces({}) is OFF
    assert open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}) is OFF
    app = create_app(house)
    job = ask(app, "POST", "/models", json=body(), headers={"traceparent": CALLER}).json()
    with reading(house.engine) as connection:
        found = get_job(connection, job["id"])
    assert found is not None
    assert found.traceparent is None
    script = "import sys, service.app, service.traces; service.traces.open_traces({}); "
    script += "sys.exit(bool({'opentelemetry.sdk.trace.export', 'requests'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_tracing_that_is_off_costs_microseconds() -> None:
    took = []
    for _ in range(50):
        began = time.perf_counter()
        for _ in range(100):
            OFF.begin_request("GET", {})
        took.append((time.perf_counter() - began) / 100)
    assert min(took) < 5e-6


def test_a_collector_that_is_away_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    traces = open_traces()
    span = traces.begin_request("GET", {})
    assert span is not None
    span.end()
    caplog.set_level(logging.CRITICAL)
    began = time.monotonic()
    traces.close()
    assert time.monotonic() - began < 4


def test_traces_that_are_asked_for_and_cannot_be_sent_are_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    # As where the extra is not installed.
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingInvalid, match="without its extra telemetry"):
        open_traces()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_traces() is OFF


def test_a_setting_of_the_sdk_that_cannot_be_used_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingInvalid, match="OTEL_"):
        open_traces()
