"""Routes of models and jobs: the one place where a scenario is parsed."""

import contextlib
import hashlib
import logging
import math
import time

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from assembler.artifact import Estimate
from assembler.scenario import Scenario, parse_scenario
from service.audit import Action
from service.auth import Caller, Reader, Writer
from service.backlog import Backlog
from service.catalog import Catalog
from service.db import now_in
from service.devices import BUILT_IN, NONE, Own, own_devices
from service.errors import Refused
from service.house import House
from service.http import (
    cut,
    demand_json,
    idempotency_key,
    json_response,
    matches_etag,
    preferred_wait_s,
    query_choice,
    query_device,
    query_id,
    query_labels,
    query_page_size,
    query_page_token,
    query_time_s,
    query_wait_s,
    read_body,
)
from service.idempotency import Answered, Repeat, find_repeat, note_answer, note_repeat
from service.jobs import DONE, Filter, Job, State, add_job, cancel, count_jobs, find_job, list_jobs
from service.models import get_model, list_models
from service.parameters import FILTERS, PAGE, SCENARIO_BODY, SUBMIT_HEADERS, WAIT
from service.queue import demand_quota
from service.refining import newcomer_s
from service.removal import delete_model
from service.reports import UNREPORTED, summarise
from service.schemas import JobsView, JobView, ModelsView, ModelView, view_job, view_model

router = APIRouter()
SHORT_BYTES = 4096
log = logging.getLogger(__name__)
RETRY_AFTER_S = 1


@router.post(
    "/models",
    status_code=202,
    openapi_extra={**SCENARIO_BODY, "parameters": SUBMIT_HEADERS},
    responses={201: {"model": JobView}},
    response_model=JobView,
)
async def submit_model(request: Request, caller: Writer) -> Response:
    """Submit a scenario; with ``Prefer: wait=N`` the answer waits for the job to end.

    A request with an ``Idempotency-Key`` can be sent again after a lost answer: no second job is made.
    """
    demand_json(request)
    house: House = request.app.state.house
    wait_s, key = preferred_wait_s(request), idempotency_key(request)
    raw = await read_body(request, house.settings.body_limit_bytes)
    repeat: Repeat | None = None
    known: Answered | None = None
    if key is None:
        # So short a text is understood sooner than another thread is woken.
        scenario, digest = (
            _understand(raw, house.catalog)
            if len(raw) <= SHORT_BYTES
            else await run_in_threadpool(_understand, raw, house.catalog)
        )
        if scenario.device not in BUILT_IN:
            digest = await _look_up(house, caller, scenario)
    else:
        scenario = await run_in_threadpool(parse_scenario, raw)
        repeat = Repeat.of(f"{caller.tenant} POST /models", key, scenario.model_dump_json())
        # What was accepted once stays so, whatever has become of its supernet.
        known = await house.database.read(find_repeat, repeat, now=time.time())
        digest = None if known else await _look_up(house, caller, scenario)
    found = known or await _submit(house, scenario, digest, repeat, caller, waits=wait_s is not None)
    headers = {"Location": f"/jobs/{found.made}"}
    if found.repeated:
        headers["Idempotency-Replayed"] = "true"
    if found.content is None:
        # The process that accepted it ended before it answered.
        body = await house.database.read(_read_job, caller.tenant, found.made, house.backlog)
    elif wait_s is None and not found.repeated:
        # As it stands: to read and to write it once more takes longer than to insert it.
        headers |= _retry_after(found.eta_s)
        return Response(found.content, 202, headers, media_type="application/json")
    else:
        body = JobView.model_validate_json(found.content)
        if found.repeated:
            return _job_response(body, found.status, headers)
    if wait_s is not None:
        body = await _wait(house, caller, body, wait_s)
        headers["Preference-Applied"] = f"wait={wait_s:g}"
    status = 201 if body.done else 202
    if repeat is not None:
        # Without it, the key is answered with the job as it is then.
        with contextlib.suppress(SQLAlchemyError):
            await house.database.note(note_answer, repeat, status, body.model_dump_json())
    return _job_response(body, status, headers)


@router.post("/models/check", openapi_extra=SCENARIO_BODY, response_model=Estimate)
async def check_model(request: Request, caller: Reader) -> Response:
    """Say whether a scenario can be met, with predicted figures; nothing is made or kept."""
    demand_json(request)
    house: House = request.app.state.house
    raw = await read_body(request, house.settings.body_limit_bytes)
    scenario = await run_in_threadpool(parse_scenario, raw)
    own = await own_devices(house.database, caller.tenant, [scenario.device])
    return json_response(await run_in_threadpool(house.catalog.estimate, scenario, own))


@router.get("/models", openapi_extra={"parameters": PAGE}, response_model=ModelsView)
async def list_all_models(request: Request, caller: Reader) -> Response:
    """List generated models, newest first."""
    demand_json(request)
    house: House = request.app.state.house
    size, before = query_page_size(request), query_page_token(request, "mdl")
    return json_response(await house.database.read(_read_models, caller.tenant, size, before))


@router.get("/models/{model_id:id}", response_model=ModelView)
async def read_model(model_id: str, request: Request, caller: Reader) -> Response:
    """Read one model: its scenario, figures and files. It is there once its job has succeeded."""
    demand_json(request)
    house: House = request.app.state.house
    body = await house.database.read(_read_model, caller.tenant, model_id)
    content = body.model_dump_json().encode()
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Cache-Control": "private, no-cache"}
    if matches_etag(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


@router.delete(
    "/models/{model_id:id}",
    status_code=204,
    response_class=Response,
    responses={409: {"description": "Its job has not ended"}},
)
async def remove_model(model_id: str, request: Request, caller: Writer) -> Response:
    """Delete a model with its artifacts; its files go as soon as no other artifact has the same content."""
    house: House = request.app.state.house
    await house.database.write(_remove, caller, model_id)
    return Response(status_code=204)


@router.get("/jobs", openapi_extra={"parameters": [*FILTERS, *PAGE]}, response_model=JobsView)
async def list_all_jobs(request: Request, caller: Reader) -> Response:
    """List jobs, newest first, and count all there are by state."""
    demand_json(request)
    house: House = request.app.state.house
    state = query_choice(request, "state", list(State))
    only = Filter(
        state=State(state) if state else None,
        device=query_device(request),
        labels=query_labels(request),
        created_after=query_time_s(request, "created_after"),
        batch=query_id(request, "batch", "bat"),
    )
    size, before = query_page_size(request), query_page_token(request, "job")
    body = await house.database.read(_read_jobs, caller.tenant, only, size, before, house.backlog)
    return json_response(body)


@router.get("/jobs/{job_id:id}", openapi_extra={"parameters": [WAIT]}, response_model=JobView)
async def read_job(job_id: str, request: Request, caller: Reader) -> Response:
    """Read one job; with ``?wait=N`` the answer waits for it to end."""
    demand_json(request)
    house: House = request.app.state.house
    wait_s = query_wait_s(request)
    body = await house.database.read(_read_job, caller.tenant, job_id, house.backlog)
    if wait_s and not body.done:
        await house.listeners.until_done(body.id, wait_s)
        body = await house.database.read(_read_job, caller.tenant, job_id, house.backlog)
    return _job_response(body, 200, {})


@router.post(
    "/jobs/{job_id:id}/cancel",
    status_code=202,
    responses={200: {"model": JobView}},
    response_model=JobView,
)
async def cancel_job(job_id: str, request: Request, caller: Writer) -> Response:
    """Cancel a job: one that is queued ends at once, a running one within 10 s."""
    demand_json(request)
    house: House = request.app.state.house
    asked = await house.database.write(_cancel, caller, job_id)
    return _job_response(
        await house.database.read(_read_job, caller.tenant, job_id, house.backlog), 202 if asked else 200, {}
    )


async def _wait(house: House, caller: Caller, body: JobView, wait_s: float) -> JobView:
    """Return a job that was accepted as it is when it has ended or the time is over, as it was if that fails."""
    try:
        await house.listeners.until_done(body.id, wait_s)
        return await house.database.read(_read_job, caller.tenant, body.id, house.backlog)
    except SQLAlchemyError:
        log.warning("job %s was accepted, but could not be read again", body.id)
        return body


def _understand(raw: bytes, catalog: Catalog) -> tuple[Scenario, str | None]:
    """Return the scenario that a body holds, and its digest where its device is built in."""
    scenario = parse_scenario(raw)
    return scenario, _digest(scenario, catalog) if scenario.device in BUILT_IN else None


def _digest(scenario: Scenario, catalog: Catalog, own: Own = NONE) -> str | None:
    return catalog.digest(scenario, catalog.card(scenario, own), own)


async def _look_up(house: House, caller: Caller, scenario: Scenario) -> str | None:
    """Return a scenario's digest, whoever made its device."""
    own = await own_devices(house.database, caller.tenant, [scenario.device])
    return await run_in_threadpool(_digest, scenario, house.catalog, own)


async def _submit(
    house: House,
    scenario: Scenario,
    digest: str | None,
    repeat: Repeat | None,
    caller: Caller,
    *,
    waits: bool,
) -> Answered:
    """Make a job, or find the one that an equal request has made; what is answered is in it."""
    made = await house.database.write(_add, scenario, digest, repeat, caller, house, waits=waits)
    if not made.repeated:
        house.backlog.add(caller.tenant, {made.made: made.refining_s})
        house.metrics.submitted.labels("/models").inc()
        house.announcer.announce([made.made])
    return made


def _add(
    connection: Connection,
    scenario: Scenario,
    digest: str | None,
    repeat: Repeat | None,
    caller: Caller,
    house: House,
    *,
    waits: bool,
) -> Answered:
    now = now_in(connection)
    if repeat is not None and (known := find_repeat(connection, repeat, now=now, alone=True)) is not None:
        return known
    demand_quota(connection, caller.tenant, 1, house.settings.tenant_jobs)
    house.backlog.demand_room(connection, 1, house.settings.queue_limit)
    refining_s = newcomer_s(connection, caller.tenant, scenario, digest)
    place = house.backlog.last_place(connection, caller.tenant, refining_s)
    job = add_job(
        connection,
        scenario,
        digest=digest,
        request_id=caller.request_id,
        now=now,
        tenant=caller.tenant,
        traceparent=caller.traceparent,
    )
    caller.note(connection, Action.JOB_SUBMITTED, target=job.id, now=now)
    # All in one transaction: an answer that had to be read again could fail, with the job made.
    content = view_job(job, place).model_dump_json()
    if repeat is not None:
        note_repeat(connection, repeat, job.id, now=now)
        if not waits:
            note_answer(connection, repeat, 202, content)
    return Answered(job.id, content=content, eta_s=place.eta_s, refining_s=refining_s)


def _cancel(connection: Connection, caller: Caller, job_id: str) -> bool:
    """Ask for a job's end; say whether that was news."""
    now = now_in(connection)
    _demand_job(connection, caller.tenant, job_id)
    if cancel(connection, job_id, now=now):
        caller.note(connection, Action.JOB_CANCELLED, target=job_id, now=now)
        return True
    # Read again: it may have ended in between.
    job = _demand_job(connection, caller.tenant, job_id)
    if job.state in DONE - {State.CANCELLED}:
        raise Refused("job-already-finished", f"the job has {job.state}")
    return False


def _remove(connection: Connection, caller: Caller, model_id: str) -> None:
    now = now_in(connection)
    delete_model(connection, caller.tenant, model_id, now=now)
    caller.note(connection, Action.MODEL_DELETED, target=model_id, now=now)


def _job_response(body: JobView, status: int, headers: dict[str, str]) -> Response:
    if not body.done:
        headers = headers | _retry_after(body.queue.eta_s if body.queue else 0.0)
    return json_response(body, status, headers)


def _retry_after(eta_s: float) -> dict[str, str]:
    return {"Retry-After": str(max(RETRY_AFTER_S, min(60, math.ceil(eta_s))))}


def _demand_job(connection: Connection, tenant: str, job_id: str) -> Job:
    job = find_job(connection, tenant, job_id)
    if job is None:
        raise Refused("not-found", "there is no such job")
    return job


def _read_job(connection: Connection, tenant: str, job_id: str, backlog: Backlog) -> JobView:
    job = _demand_job(connection, tenant, job_id)
    return view_job(job, backlog.places(connection, [job], now=time.time()).get(job.id))


def _read_jobs(
    connection: Connection, tenant: str, only: Filter, size: int, before: str | None, backlog: Backlog
) -> JobsView:
    found = list_jobs(connection, tenant, only=only, before=before, limit=size + 1)
    queued = backlog.places(connection, found, now=time.time())
    counts = count_jobs(connection, tenant)
    page, token = cut(found, size)
    return JobsView(
        jobs=[view_job(job, queued.get(job.id)) for job in page], counts=counts, next_page_token=token
    )


def _read_model(connection: Connection, tenant: str, model_id: str) -> ModelView:
    model = get_model(connection, tenant, model_id)
    if model is None:
        raise Refused("not-found", "there is no such model, or it is not made yet")
    return view_model(model, summarise(connection, [model_id]).get(model_id, UNREPORTED))


def _read_models(connection: Connection, tenant: str, size: int, before: str | None) -> ModelsView:
    found = list_models(connection, tenant, before=before, limit=size + 1)
    page, token = cut(found, size)
    summaries = summarise(connection, [model.id for model in page])
    views = [view_model(model, summaries.get(model.id, UNREPORTED)) for model in page]
    return ModelsView(models=views, next_page_token=token)
