"""Refining: for how many seconds queued and running jobs will be refined, which is most of what they take."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, and_, case, exists, func, or_, select

from assembler.scenario import Scenario
from service.state import State
from service.tables import artifacts, jobs


def refining_s(scenario: Scenario) -> float:
    """Return how many seconds of refining a scenario asks for."""
    return 0.0 if scenario.refine is None else scenario.refine.seconds


def asked_s() -> ColumnElement[float]:
    """Return the column of how many seconds of refining each job asked for."""
    return func.coalesce(jobs.c.scenario[("refine", "seconds")].as_float(), 0.0)


def waiting_s() -> ColumnElement[float]:
    """Return the column of how many seconds each queued job will be refined: none if an earlier one's build does."""
    own = asked_s()
    twin = jobs.alias("twin")
    same = (twin.c.tenant == jobs.c.tenant, twin.c.scenario_digest == jobs.c.scenario_digest)
    earlier = _builds(twin, (twin.c.state == State.QUEUED) & (twin.c.id < jobs.c.id))
    return case((own == 0, 0.0), (exists().where(*same, earlier), 0.0), else_=own)


def left_s(connection: Connection, *, now: float) -> float:
    """Return how many seconds of refining those jobs have before them that workers have taken."""
    own = asked_s()
    query = select(jobs.c.started_at, own.label("asked_s")).where(jobs.c.state == State.RUNNING, own > 0)
    found = [max(0.0, row.asked_s - (now - row.started_at)) for row in connection.execute(query)]
    return float(sum(found))


def newcomer_s(connection: Connection, tenant: str, scenario: Scenario, digest: str | None) -> float:
    """Return how many seconds a job that is about to come will be refined, not at all if another one's build does."""
    if scenario.refine is None or digest is None:
        return refining_s(scenario)
    same = (jobs.c.tenant == tenant, jobs.c.scenario_digest == digest)
    query = select(jobs.c.id).where(*same, _builds(jobs, jobs.c.state == State.QUEUED)).limit(1)
    return refining_s(scenario) if connection.execute(query).first() is None else 0.0


def _builds(twin: FromClause, queued: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a job makes, or has made, what its twins are answered with."""
    kept: Any = exists().where(artifacts.c.model_id == twin.c.model_id)
    made = and_(twin.c.state == State.SUCCEEDED, twin.c.reused_from.is_(None), kept)
    return or_(twin.c.state == State.RUNNING, made, queued)
