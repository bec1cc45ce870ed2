"""Models and their artifacts: what succeeded jobs leave behind."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, exists, insert, select

from assembler.artifact import Artifact, Assembly
from service.contents import unpin
from service.ids import new_id
from service.jobs import Hold, Job, State, get_job, move
from service.scopes import DEFAULT_TENANT
from service.tables import artifacts, jobs, models


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact with its id and its manifest."""

    id: str
    model_id: str
    created_at: float
    artifact: Artifact
    manifest: dict[str, Any]
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Model:
    """A generated model: the scenario it was made for and its figures, as they stand in the job's result."""

    id: str
    job_id: str
    created_at: float
    scenario: dict[str, Any]
    scenario_digest: str
    result: dict[str, Any]
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job ends with: the files, already stored, and the figures of the result."""

    artifacts: tuple[tuple[Artifact, dict[str, Any]], ...]
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """All that a job is given when it succeeds; ``reused_from`` names the job that built the files if not it."""

    outcome: Outcome
    digest: str
    phases: list[dict[str, Any]]
    reused_from: str | None = None


def outcome_of(assembly: Assembly) -> Outcome:
    """Return the outcome of a job that assembled a model."""
    measured = assembly.measured
    figures = {
        "limits_met": assembly.limits_met,
        "predicted": assembly.predicted.model_dump(mode="json"),
        "measured": None if measured is None else measured.model_dump(mode="json"),
        "limits_check": [check.model_dump(mode="json") for check in assembly.limits_check],
    }
    return Outcome(tuple((artifact, manifest) for _, artifact, manifest in assembly.files), figures)


def publish(connection: Connection, job: Job, hold: Hold, ending: Ending, *, now: float) -> bool:
    """End a job with its model, all in one transaction; say whether the worker still held the job.

    Args:
        connection: a writing transaction.
        job: the job.
        hold: of the worker.
        ending: its files are stored and were read back.
        now: s.
    """
    stored = [
        StoredArtifact(new_id("art"), job.model_id, now, artifact, manifest, job.tenant)
        for artifact, manifest in ending.outcome.artifacts
    ]
    result = {**ending.outcome.figures, "artifacts": [describe(one) for one in stored]}
    moved = move(
        connection,
        job.id,
        State.SUCCEEDED,
        now=now,
        hold=hold,
        result=result,
        scenario_digest=ending.digest,
        phases=ending.phases,
        progress=1.0,
        reused_from=ending.reused_from,
    )
    if not moved:
        return False
    model = Model(job.model_id, job.id, now, job.scenario, ending.digest, result, job.tenant)
    connection.execute(insert(models).values({name: getattr(model, name) for name in Model.__slots__}))
    for one in stored:
        connection.execute(
            insert(artifacts).values(
                id=one.id,
                model_id=one.model_id,
                created_at=now,
                manifest=one.manifest,
                tenant=job.tenant,
                **one.artifact.model_dump(),
            )
        )
    unpin(connection, job.id)
    return True


def describe(stored: StoredArtifact) -> dict[str, Any]:
    """Return what a result says of one artifact."""
    return {
        "id": stored.id,
        **stored.artifact.model_dump(include={"kind", "format", "precision", "bytes", "sha256"}),
    }


def find_twin(connection: Connection, tenant: str, digest: str) -> tuple[Job, Outcome] | None:
    """Return the tenant's newest job that built a model for this scenario digest, with its outcome."""
    query = (
        select(jobs.c.id)
        .where(
            jobs.c.tenant == tenant,
            jobs.c.scenario_digest == digest,
            jobs.c.state == State.SUCCEEDED,
            jobs.c.reused_from.is_(None),
            # The files of a model that was deleted are not used again.
            exists().where(artifacts.c.model_id == jobs.c.model_id),
        )
        .order_by(jobs.c.id.desc())
        .limit(1)
    )
    twin_id = connection.scalar(query)
    twin = None if twin_id is None else get_job(connection, twin_id)
    if twin is None or twin.result is None:
        return None
    figures = {name: value for name, value in twin.result.items() if name != "artifacts"}
    files = tuple((one.artifact, one.manifest) for one in list_artifacts(connection, twin.model_id))
    return (twin, Outcome(files, figures)) if files else None


def get_model(connection: Connection, tenant: str, model_id: str) -> Model | None:
    """Return a tenant's model, or None when it has none of this id."""
    query = select(models).where(models.c.id == model_id, models.c.tenant == tenant)
    row = connection.execute(query).mappings().first()
    return None if row is None else Model(**row)


def list_models(connection: Connection, tenant: str, *, before: str | None = None, limit: int) -> list[Model]:
    """Return a tenant's models, newest first, only those older than the one of the id ``before``."""
    query = select(models).where(models.c.tenant == tenant).order_by(models.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(models.c.id < before)
    return [Model(**row) for row in connection.execute(query).mappings()]


def get_artifact(connection: Connection, tenant: str, artifact_id: str) -> StoredArtifact | None:
    """Return a tenant's artifact, or None when it has none of this id."""
    query = select(artifacts).where(artifacts.c.id == artifact_id, artifacts.c.tenant == tenant)
    row = connection.execute(query).mappings().first()
    return None if row is None else _stored(row)


def list_artifacts(connection: Connection, model_id: str) -> list[StoredArtifact]:
    """Return the artifacts of a model, in the order they were made."""
    query = select(artifacts).where(artifacts.c.model_id == model_id).order_by(artifacts.c.id)
    return [_stored(row) for row in connection.execute(query).mappings()]


def _stored(row: RowMapping) -> StoredArtifact:
    artifact = Artifact(**{name: row[name] for name in Artifact.model_fields})
    return StoredArtifact(
        row["id"], row["model_id"], row["created_at"], artifact, row["manifest"], row["tenant"]
    )
