"""Reports: what devices measured of an artifact where it is used."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import Connection, delete, func, insert, or_, select

from assembler.scenario import LARGEST, MEDIAN, Strict
from service.http import utc_seconds
from service.ids import new_id
from service.models import StoredArtifact
from service.tables import artifacts, reports

FIGURES = ("latency_ms", "memory_mb", "accuracy")
MAX_TEXT = 200
MAX_NOTE = 1000
MAX_SAMPLES = 10**9
# The median is that of so many reports, the newest.
SUMMARISED = 100


class Figures(Strict):
    """What a device has measured; at least one figure is there."""

    latency_ms: float | None = Field(
        default=None, gt=0, le=LARGEST, description="a positive number of milliseconds"
    )
    latency_percentile: float | None = Field(
        default=None, gt=0, lt=100, description="a number between 0 and 100, beside latency_ms"
    )
    memory_mb: float | None = Field(
        default=None, gt=0, le=LARGEST, description="a positive number of megabytes"
    )
    accuracy: float | None = Field(default=None, ge=0, le=1, description="a number from 0 to 1")
    samples: int | None = Field(
        default=None, ge=1, le=MAX_SAMPLES, description="a whole number, how many were measured"
    )
    device: str | None = Field(
        default=None, min_length=1, max_length=MAX_TEXT, description=f"a text of 1 to {MAX_TEXT} characters"
    )
    runtime: str | None = Field(
        default=None, min_length=1, max_length=MAX_TEXT, description=f"a text of 1 to {MAX_TEXT} characters"
    )
    measured_at: str | None = Field(
        default=None,
        json_schema_extra={"format": "date-time"},
        description="a time in UTC such as 2026-01-31T12:00:00Z",
    )
    note: str | None = Field(
        default=None, max_length=MAX_NOTE, description=f"a text of at most {MAX_NOTE} characters"
    )

    @field_validator("measured_at")
    @classmethod
    def _is_a_time(cls, text: str | None) -> str | None:
        if text is not None and utc_seconds(text) is None:
            raise ValueError
        return text

    @model_validator(mode="after")
    def _says_something(self) -> "Figures":
        if all(getattr(self, name) is None for name in FIGURES):
            raise PydanticCustomError("no_figure", f"at least one of {', '.join(FIGURES)} must be there")
        if self.latency_percentile is not None and self.latency_ms is None:
            raise PydanticCustomError("no_latency", "latency_percentile stands beside latency_ms alone")
        return self


@dataclass(frozen=True, slots=True)
class Report:
    """One row; times are s since 1970 UTC."""

    id: str
    tenant: str
    artifact_id: str
    created_at: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class Summary:
    """What the reports on a model say: how many there are, and the median of their median latencies."""

    count: int
    latency_ms: float | None


UNREPORTED = Summary(0, None)


def add_report(connection: Connection, stored: StoredArtifact, figures: Figures, *, now: float) -> Report:
    """Insert a report on an artifact and return it."""
    report = Report(new_id("rpt"), stored.tenant, stored.id, now, figures)
    connection.execute(
        insert(reports).values(
            id=report.id,
            tenant=report.tenant,
            artifact_id=report.artifact_id,
            created_at=now,
            latency_ms=figures.latency_ms,
            latency_percentile=figures.latency_percentile,
            figures=figures.model_dump(mode="json", exclude_none=True),
        )
    )
    return report


def list_reports(
    connection: Connection, artifact_id: str, *, before: str | None = None, limit: int
) -> list[Report]:
    """Return the reports on an artifact, newest first, only those older than the one of the id ``before``."""
    query = select(reports).where(reports.c.artifact_id == artifact_id)
    query = query.order_by(reports.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(reports.c.id < before)
    return [
        Report(row.id, row.tenant, row.artifact_id, row.created_at, Figures.model_validate(row.figures))
        for row in connection.execute(query)
    ]


def get_report(connection: Connection, artifact_id: str, report_id: str) -> Report | None:
    """Return a report on an artifact, or None when there is none of this id."""
    found = select(reports).where(reports.c.artifact_id == artifact_id, reports.c.id == report_id)
    row = connection.execute(found).first()
    if row is None:
        return None
    figures = Figures.model_validate(row.figures)
    return Report(row.id, row.tenant, row.artifact_id, row.created_at, figures)


def summarise(connection: Connection, model_ids: Sequence[str]) -> dict[str, Summary]:
    """Return what the reports on the artifacts of models say, for those that have any."""
    on_models = select(artifacts.c.model_id, reports.c.id, reports.c.latency_ms).join_from(
        reports, artifacts, artifacts.c.id == reports.c.artifact_id
    )
    on_models = on_models.where(artifacts.c.model_id.in_(model_ids))
    every = on_models.subquery()
    counts = select(every.c.model_id, func.count()).group_by(every.c.model_id)
    is_median = or_(reports.c.latency_percentile.is_(None), reports.c.latency_percentile == MEDIAN)
    rank = func.row_number().over(partition_by=artifacts.c.model_id, order_by=reports.c.id.desc())
    timed = on_models.add_columns(rank.label("rank")).where(reports.c.latency_ms.is_not(None), is_median)
    newest = timed.subquery()
    latencies: dict[str, list[float]] = {}
    rows = select(newest.c.model_id, newest.c.latency_ms).where(newest.c.rank <= SUMMARISED)
    for model_id, latency_ms in connection.execute(rows):
        latencies.setdefault(model_id, []).append(latency_ms)
    return {
        model_id: Summary(count, statistics.median(latencies[model_id]) if model_id in latencies else None)
        for model_id, count in connection.execute(counts)
    }


def forget_reports(connection: Connection) -> int:
    """Forget reports on artifacts that are gone; return how many there were."""
    is_there = select(artifacts.c.id).where(artifacts.c.id == reports.c.artifact_id).exists()
    return connection.execute(delete(reports).where(~is_there)).rowcount
