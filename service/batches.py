"""The route of batches: many scenarios in one request, all accepted or none."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from assembler.errors import FieldProblem, MalformedJson, ScenarioInvalid
from assembler.scenario import NOT_IN_DIGEST, Scenario, scenario_of
from assembler.strict import parse_json
from service.audit import Action
from service.auth import Caller, Writer
from service.db import now_in
from service.devices import Own, own_devices
from service.errors import Refused
from service.house import House
from service.http import demand_json, idempotency_key, media_type, read_body
from service.idempotency import Repeat, find_repeat, note_answer, note_repeat
from service.ids import new_id
from service.jobs import Job, add_jobs
from service.parameters import EXAMPLE, IDEMPOTENCY_KEY
from service.queue import demand_quota
from service.refining import refining_s
from service.schemas import BatchJobView, BatchView

router = APIRouter()
NDJSON = "application/x-ndjson"
MAX_SCENARIOS = 10_000
# An answer of some 200 kB.
MOST_PROBLEMS = 1000
SCENARIO = {"$ref": "#/components/schemas/Scenario"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": SCENARIO, "minItems": 1, "maxItems": MAX_SCENARIOS},
                "examples": {"two of one": {"value": [EXAMPLE, EXAMPLE]}},
            },
            NDJSON: {"schema": {"type": "string", "description": "a scenario a line"}},
        },
    },
    "parameters": [IDEMPOTENCY_KEY],
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A scenario of a batch, its digest, None while its device is being measured, and what builds are told apart by."""

    scenario: Scenario
    digest: str | None

    @property
    def build(self) -> str:
        """What scenarios share that one build answers."""
        return self.digest or self.scenario.model_dump_json(exclude=NOT_IN_DIGEST)


@router.post("/models/batch", status_code=202, openapi_extra=BODY, response_model=BatchView)
async def submit_batch(request: Request, caller: Writer) -> Response:
    """Submit up to 10,000 scenarios, as a JSON array or a line each (NDJSON): all of them are accepted, or none.

    Equal scenarios share one build. ``GET /jobs?batch=`` lists the jobs.
    """
    demand_json(request)
    house: House = request.app.state.house
    key = idempotency_key(request)
    raw = await read_body(request, house.settings.batch_limit_bytes, ("application/json", NDJSON))
    lines = media_type(request) == NDJSON
    content, repeated = await _submit(house, raw, lines, key, caller)
    headers = {"Retry-After": "1"}
    if repeated:
        headers["Idempotency-Replayed"] = "true"
    return Response(content, 202, headers, media_type="application/json")


async def _submit(house: House, raw: bytes, lines: bool, key: str | None, caller: Caller) -> tuple[str, bool]:
    """Make the jobs of a batch; return the answer, and whether it was given before."""
    documents = await run_in_threadpool(_lines if lines else _array, raw)
    scope = f"{caller.tenant} POST /models/batch"
    repeat = None if key is None else Repeat.of(scope, key, json.dumps(documents, sort_keys=True))
    if repeat is not None:
        known = await house.database.read(find_repeat, repeat, now=time.time())
        if known is not None:
            return known.content or "", True
    own = await own_devices(house.database, caller.tenant, _devices(documents))
    wanted = await run_in_threadpool(_wanted, house, documents, own)
    content, made = await house.database.write(_add, wanted, repeat, caller, house)
    # Those that share a build end with it: the first of them is enough to be told of, and alone is refined.
    first = {one.build: job for job, one in zip(reversed(made), reversed(wanted), strict=False)}
    refined = {first[one.build]: refining_s(one.scenario) for one in wanted} if made else {}
    house.backlog.add(caller.tenant, {job: refined.get(job, 0.0) for job in made})
    house.metrics.submitted.labels("/models/batch").inc(len(made))
    house.announcer.announce(list(first.values()))
    return content, not made


def _add(
    connection: Connection,
    wanted: Sequence[Wanted],
    repeat: Repeat | None,
    caller: Caller,
    house: House,
) -> tuple[str, list[str]]:
    now = now_in(connection)
    if repeat is not None and (known := find_repeat(connection, repeat, now=now, alone=True)) is not None:
        return known.content or "", []
    demand_quota(connection, caller.tenant, len(wanted), house.settings.tenant_jobs)
    house.backlog.demand_room(connection, len(wanted), house.settings.queue_limit)
    batch = new_id("bat")
    rows = [(one.scenario, one.digest) for one in wanted]
    jobs = add_jobs(
        connection,
        rows,
        batch_id=batch,
        request_id=caller.request_id,
        now=now,
        tenant=caller.tenant,
        traceparent=caller.traceparent,
    )
    caller.note(connection, Action.BATCH_SUBMITTED, target=batch, count=len(wanted), now=now)
    content = _view(batch, jobs, wanted).model_dump_json()
    if repeat is not None:
        note_repeat(connection, repeat, batch, now=now)
        note_answer(connection, repeat, 202, content)
    return content, [job.id for job in jobs]


def _view(batch: str, jobs: Sequence[Job], wanted: Sequence[Wanted]) -> BatchView:
    return BatchView(
        batch_id=batch,
        jobs=[
            BatchJobView(
                id=job.id,
                model_id=job.model_id,
                state=job.state,
                scenario_digest=job.scenario_digest,
                links={"self": f"/jobs/{job.id}", "model": f"/models/{job.model_id}"},
            )
            for job in jobs
        ],
        unique_builds=len({one.build for one in wanted}),
        links={"jobs": f"/jobs?batch={batch}"},
    )


def _array(raw: bytes) -> list[Any]:
    """Return the documents of a JSON array.

    Raises:
        MalformedJson: it is not strict JSON.
        ScenarioInvalid: it is no array, or an empty one.
        Refused: it holds too many.
    """
    document = parse_json(raw)
    if not isinstance(document, list):
        raise _invalid([FieldProblem("", "scenario-invalid", "a batch must be an array of scenarios")])
    return _counted(document)


def _lines(raw: bytes) -> list[Any]:
    """Return the documents of lines; raises as ``_array`` does, naming the line by its place."""
    texts = [line for line in raw.split(b"\n") if line.strip()]
    found = []
    for place, line in enumerate(_counted(texts)):
        try:
            found.append(parse_json(line))
        except MalformedJson as error:
            raise MalformedJson(error.detail, f"/{place}{error.pointer or ''}") from None
    return found


def _counted(found: list[Any]) -> list[Any]:
    if not found:
        raise _invalid([FieldProblem("", "scenario-invalid", "a batch must hold at least one scenario")])
    if len(found) > MAX_SCENARIOS:
        raise Refused("body-too-large", f"a batch holds at most {MAX_SCENARIOS} scenarios")
    return found


def _devices(documents: Sequence[Any]) -> set[str]:
    """Return the names of all devices that documents ask for."""
    named = (document.get("device") for document in documents if isinstance(document, dict))
    return {name for name in named if isinstance(name, str)}


def _wanted(house: House, documents: Sequence[Any], own: Own) -> list[Wanted]:
    """Return the scenarios of a batch; equal documents are looked at once.

    Raises:
        ScenarioInvalid: some are none, or ask for what is not here; every fault is named, up to 1000 of them.
    """
    known: dict[str, Wanted | ScenarioInvalid] = {}
    found: list[Wanted] = []
    problems: list[FieldProblem] = []
    for place, document in enumerate(documents):
        text = json.dumps(document)
        if text not in known:
            known[text] = _looked_at(house, document, own)
        one = known[text]
        if isinstance(one, Wanted):
            found.append(one)
        else:
            problems += [
                FieldProblem(f"/{place}{each.pointer}", each.code, each.detail) for each in one.problems
            ]
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise _invalid(problems)
    return found


def _looked_at(house: House, document: Any, own: Own) -> Wanted | ScenarioInvalid:
    try:
        scenario = scenario_of(document)
        return Wanted(scenario, house.catalog.digest(scenario, house.catalog.card(scenario, own), own))
    except ScenarioInvalid as error:
        return error


def _invalid(problems: Sequence[FieldProblem]) -> ScenarioInvalid:
    codes = {problem.code for problem in problems}
    first = problems[0]
    detail = f"{first.pointer or 'the batch'}: {first.detail}"
    code = codes.pop() if len(codes) == 1 else "scenario-invalid"
    return ScenarioInvalid(code, detail, tuple(problems[:MOST_PROBLEMS]))
