"""The route of a job's events, told as they happen (server-sent events)."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import Connection

from service.accept import chosen_type
from service.auth import Reader
from service.errors import Refused
from service.gate import Gate
from service.house import House
from service.http import last_event_id
from service.jobs import JobEvent, find_job
from service.parameters import header_parameter
from service.schemas import rfc3339

router = APIRouter()
AFTER = header_parameter(
    "Last-Event-ID", "go on after the event of this id", {"type": "integer", "minimum": 0}
)


async def followed(job_id: str, request: Request, caller: Reader) -> AsyncIterator[AsyncIterator[JobEvent]]:
    """Yield the events to tell; what is wrong with the request is found before the answer begins.

    Raises:
        Refused: there is no such job, the header Last-Event-ID is none, or Accept leaves event streams out.
    """
    house: House = request.app.state.house
    chosen_type(request, ("text/event-stream",))
    after = last_event_id(request)
    await house.database.read(_demand_job, caller.tenant, job_id)
    # Whoever leaves early is listened for no longer.
    async with aclosing(house.listeners.follow(job_id, after)) as events:
        yield events


@router.get(
    "/jobs/{job_id:id}/events",
    openapi_extra={"parameters": [AFTER]},
    response_class=EventSourceResponse,
)
async def tell_events(
    events: Annotated[AsyncIterator[JobEvent], Depends(followed)], request: Request, caller: Reader
) -> AsyncIterator[ServerSentEvent]:
    """Tell what happens to a job: ``state``, ``phase``, ``progress``, and last ``done``; then the stream ends.

    A stream that was cut goes on with the header ``Last-Event-ID``. Every 15 s without an event there is a comment.
    """
    gate: Gate = request.app.state.gate
    async for event in events:
        # A stream may be open for longer than its key is good.
        if not await gate.still_admits(caller):
            return
        data = {"job_id": event.job_id, **event.data, "at": rfc3339(event.at)}
        yield ServerSentEvent(event=event.kind, id=str(event.id), data=data)


def _demand_job(connection: Connection, tenant: str, job_id: str) -> None:
    if find_job(connection, tenant, job_id) is None:
        raise Refused("not-found", "there is no such job")
