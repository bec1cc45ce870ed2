"""Routes of reports: devices tell what they measured, and anybody may read it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from service.auth import Reader, Writer
from service.bodies import LIMIT_BYTES, described, parse_body
from service.db import now_in
from service.downloads import find_artifact
from service.errors import Refused
from service.house import House
from service.http import cut, demand_json, json_response, query_page_size, query_page_token, read_body
from service.parameters import PAGE
from service.reports import Figures, Report, add_report, get_report, list_reports
from service.schemas import ReportsView, ReportView, view_report

router = APIRouter()
GONE: dict[int | str, dict[str, Any]] = {410: {"description": "The artifact was deleted"}}


@router.post(
    "/artifacts/{artifact_id:id}/reports",
    status_code=201,
    openapi_extra=described(Figures),
    response_model=ReportView,
    responses=GONE,
)
async def create_report(artifact_id: str, request: Request, caller: Writer) -> Response:
    """Tell what a device measured of an artifact: latency, memory, accuracy, or some of them."""
    demand_json(request)
    house: House = request.app.state.house
    await house.database.read(find_artifact, caller.tenant, artifact_id)
    figures = parse_body(Figures, await read_body(request, LIMIT_BYTES), "report-invalid")
    report = await house.database.write(_add, caller.tenant, artifact_id, figures)
    place = f"/artifacts/{artifact_id}/reports/{report.id}"
    return json_response(view_report(report), 201, {"Location": place})


@router.get(
    "/artifacts/{artifact_id:id}/reports",
    openapi_extra={"parameters": PAGE},
    response_model=ReportsView,
    responses=GONE,
)
async def list_all_reports(artifact_id: str, request: Request, caller: Reader) -> Response:
    """List what devices measured of an artifact, newest first."""
    demand_json(request)
    house: House = request.app.state.house
    size, before = query_page_size(request), query_page_token(request, "rpt")
    return json_response(await house.database.read(_read_reports, caller.tenant, artifact_id, size, before))


@router.get("/artifacts/{artifact_id:id}/reports/{report_id:id}", response_model=ReportView, responses=GONE)
async def read_report(artifact_id: str, report_id: str, request: Request, caller: Reader) -> Response:
    """Read one report."""
    demand_json(request)
    house: House = request.app.state.house
    report = await house.database.read(_find, caller.tenant, artifact_id, report_id)
    return json_response(view_report(report))


def _add(connection: Connection, tenant: str, artifact_id: str, figures: Figures) -> Report:
    # It may have been deleted while the body came.
    stored = find_artifact(connection, tenant, artifact_id)
    return add_report(connection, stored, figures, now=now_in(connection))


def _find(connection: Connection, tenant: str, artifact_id: str, report_id: str) -> Report:
    find_artifact(connection, tenant, artifact_id)
    report = get_report(connection, artifact_id, report_id)
    if report is None:
        raise Refused("not-found", "there is no such report")
    return report


def _read_reports(
    connection: Connection, tenant: str, artifact_id: str, size: int, before: str | None
) -> ReportsView:
    find_artifact(connection, tenant, artifact_id)
    found = list_reports(connection, artifact_id, before=before, limit=size + 1)
    page, token = cut(found, size)
    return ReportsView(reports=[view_report(report) for report in page], next_page_token=token)
