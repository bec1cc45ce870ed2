"""The route of Pareto fronts: what can be had for a task on a device, as JSON or as a plot."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from assembler.look.front import front_svg
from assembler.pareto import Front
from assembler.scenario import parse_survey
from service.accept import chosen_type
from service.auth import Reader
from service.devices import own_devices
from service.house import House
from service.http import JSON, json_response, read_body
from service.parameters import EXAMPLE

router = APIRouter()
SVG = "image/svg+xml"
HEADERS = {"Vary": "Accept", "X-Content-Type-Options": "nosniff"}
# Whoever opens the plot alone: nothing may be loaded, whatever a name may have smuggled in.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {"$ref": "#/components/schemas/Survey"},
                "examples": {"a sorter": {"value": {"task": EXAMPLE["task"]}}},
            }
        },
    }
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The front, or its plot where the header Accept prefers that",
        "content": {SVG: {"schema": {"type": "string"}}},
    },
    406: {"description": "Neither can be accepted"},
}


@router.post("/models/pareto", openapi_extra=BODY, responses=ANSWERS, response_model=Front)
async def survey_models(request: Request, caller: Reader) -> Response:
    """Say which accuracies can be had at which latency, memory and size; nothing is made or kept.

    The body is a scenario whose limits are bounds, which need not be set.
    """
    kind = chosen_type(request, (JSON, SVG))
    house: House = request.app.state.house
    raw = await read_body(request, house.settings.body_limit_bytes)
    survey = await run_in_threadpool(parse_survey, raw)
    own = await own_devices(house.database, caller.tenant, [survey.device])
    front = await run_in_threadpool(house.catalog.front, survey, own)
    if kind == JSON:
        return json_response(front, headers=HEADERS)
    drawn = await run_in_threadpool(front_svg, front)
    return Response(drawn, headers={**HEADERS, "Content-Security-Policy": POLICY}, media_type=SVG)
