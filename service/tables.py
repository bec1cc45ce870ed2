"""Tables of the database. Times are seconds since 1970 UTC, figures and scenarios are JSON documents."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from service.scopes import DEFAULT_TENANT

metadata = MetaData()
# SQLite counts up by itself only what is called an integer, which has 64 bits there.
NUMBER = BigInteger().with_variant(Integer, "sqlite")


def tenant() -> Column[str]:
    """Return the column that says whose a row is; what was there before there were tenants is the default one's."""
    return Column("tenant", String, nullable=False, server_default=DEFAULT_TENANT)


IN_BATCH = text("batch_id IS NOT NULL")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("model_id", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("phase", String),
    Column("progress", Float, nullable=False),
    Column("phases", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("scenario", JSON, nullable=False),
    Column("scenario_digest", String),
    Column("reused_from", String),
    Column("request_id", String, nullable=False),
    Column("worker", String),
    Column("lease_until", Float),
    Column("deadline_at", Float),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("batch_id", String),
    tenant(),
    Column("traceparent", String),
    Index("jobs_by_state", "state", "id"),
    Index("jobs_by_digest", "tenant", "scenario_digest", "state", "reused_from", "id"),
    Index("jobs_by_tenant", "tenant", "id"),
    Index("jobs_by_tenant_and_state", "tenant", "state", "id"),
    Index("jobs_by_batch", "batch_id", "id", sqlite_where=IN_BATCH, postgresql_where=IN_BATCH),
)

# Jobs that have ended and stand in no figure yet; without a foreign key, since jobs are removed.
ended_jobs = Table("ended_jobs", metadata, Column("job_id", String, primary_key=True))

# What all jobs that have ended add up to; jobs that were removed since stay in it.
figures = Table(
    "figures",
    metadata,
    Column("name", String, primary_key=True),
    Column("label", String, primary_key=True),
    Column("detail", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("sum_s", Float, nullable=False),
    Column("buckets", JSON, nullable=False),
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("data", JSON, nullable=False),
    Index("job_events_by_job", "job_id", "id"),
)

models = Table(
    "models",
    metadata,
    Column("id", String, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("scenario", JSON, nullable=False),
    Column("scenario_digest", String, nullable=False),
    Column("result", JSON, nullable=False),
    tenant(),
    Index("models_by_tenant", "tenant", "id"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", String, primary_key=True),
    Column("model_id", String, ForeignKey("models.id"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("format", String, nullable=False),
    Column("precision", String, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    Column("manifest", JSON, nullable=False),
    tenant(),
    Index("artifacts_by_model", "model_id"),
    Index("artifacts_by_sha256", "sha256"),
)

# Contents that a job will need: they stay for as long as this attempt of it runs.
content_pins = Table(
    "content_pins",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Index("content_pins_by_job", "job_id"),
)

# Contents that nobody may want any more; until ``due_at`` they are being removed, or are not looked at.
doomed_contents = Table(
    "doomed_contents",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("removing", Boolean, nullable=False),
    Column("due_at", Float, nullable=False),
    Index("doomed_contents_by_time", "due_at"),
)

# Without a foreign key: a report that comes while its artifact is deleted must not keep that from going.
reports = Table(
    "reports",
    metadata,
    Column("id", String, primary_key=True),
    tenant(),
    Column("artifact_id", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("latency_ms", Float),
    Column("latency_percentile", Float),
    Column("figures", JSON, nullable=False),
    Index("reports_by_artifact", "artifact_id", "id"),
)

gone_artifacts = Table(
    "gone_artifacts",
    metadata,
    Column("id", String, primary_key=True),
    tenant(),
    Column("at", Float, nullable=False),
    Index("gone_artifacts_by_age", "at"),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    tenant(),
    Column("url", String, nullable=False),
    Column("events", JSON, nullable=False),
    Column("description", String),
    Column("secret", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),
    Column("disabled_reason", String),
    Column("old_secret", String),
    Column("old_secret_until", Float),
    Index("webhooks_by_tenant", "tenant", "id"),
)

# Without a foreign key: a webhook that is deleted must not keep a job from ending.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("webhook_id", String, nullable=False),
    tenant(),
    Column("message", String, nullable=False),
    Column("event", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float),
    Column("last_at", Float),
    Column("status", Integer),
    Column("error", String),
    Column("replay_of", String),
    Index("deliveries_by_webhook", "webhook_id", "id"),
    Index("deliveries_by_time", "webhook_id", "state", "next_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("ready", Boolean, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("body_sha256", String, nullable=False),
    Column("made", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("status", Integer),
    Column("content", Text),
    Index("idempotency_keys_by_age", "created_at"),
)

device_profiles = Table(
    "device_profiles",
    metadata,
    Column("digest", String, primary_key=True),
    Column("device", String, nullable=False),
    Column("supernet", String, nullable=False),
    Column("document", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("device_profiles_by_device", "device", "supernet", "created_at"),
)

devices = Table(
    "devices",
    metadata,
    Column("id", String, primary_key=True),
    tenant(),
    Column("name", String, nullable=False),
    Column("title", String, nullable=False),
    Column("runtime", String, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("devices_by_name", "tenant", "name", unique=True),
)

# What was measured on a tenant's device: text, that is read once a process and known by it again.
uploaded_profiles = Table(
    "uploaded_profiles",
    metadata,
    Column("device_id", String, ForeignKey("devices.id"), primary_key=True),
    Column("digest", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("supernet", String, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("uploaded_profiles_by_version", "device_id", "supernet", "version"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("secret_sha256", String, nullable=False),
    Column("label", String),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Column("last_used_at", Float),
    Index("api_keys_by_tenant", "tenant", "id"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("action", String, nullable=False),
    Column("tenant", String),
    Column("key_id", String),
    Column("target", String),
    Column("count", Integer, nullable=False),
    Column("detail", String),
    Column("address", String),
    Column("request_id", String),
    Index("audit_by_tenant", "tenant", "id"),
)
