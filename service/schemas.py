"""What clients read: the bodies of answers, built from the values of the other files."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from assembler.artifact import LimitCheck, Measured, Predicted
from service.scopes import Action, Scope
from service.state import State

# Clients read these bodies too: nothing of the service is loaded for them.
if TYPE_CHECKING:
    from service.audit import Entry
    from service.backlog import Place
    from service.jobs import Job
    from service.keys import Key
    from service.models import Model
    from service.outbox import Delivery
    from service.reports import Report, Summary
    from service.webhooks import Webhook


class View(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldProblemView(View):
    """One fault of one field."""

    pointer: str
    code: str
    detail: str


class ProblemView(BaseModel):
    """An error, RFC 9457; some have further members, such as ``diagnosis``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    fault: str
    errors: list[FieldProblemView]


class ArtifactView(View):
    """A file of a model."""

    id: str
    kind: str
    format: str
    precision: str
    bytes: int
    sha256: str


class ResultView(View):
    """What a job that succeeded made."""

    limits_met: bool
    artifacts: list[ArtifactView]
    predicted: Predicted
    measured: Measured | None
    limits_check: list[LimitCheck]


class PhaseView(View):
    """One step of a job."""

    name: str
    state: str
    duration_ms: float | None


class PlaceView(View):
    """Where a job stands in the queue."""

    position: int
    eta_s: float


class JobView(View):
    """A job."""

    id: str
    model_id: str
    state: State
    done: bool
    phase: str | None
    progress: float
    phases: list[PhaseView]
    queue: PlaceView | None
    attempt: int
    scenario: dict[str, Any]
    scenario_digest: str | None
    reused_from: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    result: ResultView | None
    error: dict[str, Any] | None
    links: dict[str, str]


class JobsView(View):
    """A page of jobs, newest first, and how many there are in each state."""

    jobs: list[JobView]
    counts: dict[State, int]
    next_page_token: str | None


class BatchJobView(View):
    """A job of a batch, as it was accepted."""

    id: str
    model_id: str
    state: State
    scenario_digest: str | None
    links: dict[str, str]


class BatchView(View):
    """A batch: its jobs in the order of its scenarios, and how many builds they share."""

    batch_id: str
    jobs: list[BatchJobView]
    unique_builds: int
    links: dict[str, str]


class ReportView(View):
    """What a device measured of an artifact."""

    id: str
    artifact_id: str
    created_at: str
    latency_ms: float | None
    latency_percentile: float | None
    memory_mb: float | None
    accuracy: float | None
    samples: int | None
    device: str | None
    runtime: str | None
    measured_at: str | None
    note: str | None


class ReportsView(View):
    """A page of reports, newest first."""

    reports: list[ReportView]
    next_page_token: str | None


class ReportSummaryView(View):
    """How many reports there are on a model, and the median of the median latencies they tell."""

    count: int
    latency_ms: float | None


class ModelView(View):
    """A generated model."""

    id: str
    job_id: str
    created_at: str
    name: str | None
    scenario: dict[str, Any]
    scenario_digest: str
    limits_met: bool
    predicted: Predicted
    measured: Measured | None
    limits_check: list[LimitCheck]
    artifacts: list[ArtifactView]
    links: dict[str, str]
    # Earlier versions do not tell of any.
    reports: ReportSummaryView | None = None


class ModelsView(View):
    """A page of models, newest first."""

    models: list[ModelView]
    next_page_token: str | None


class InputView(View):
    """What a model is fed."""

    channels: int
    height: int
    width: int


class DenseView(View):
    """Figures of the dense net on a device; None while the device is being measured."""

    latency_ms: float | None
    memory_mb: float | None
    size_mb: float | None
    accuracy: float


class SupernetView(View):
    """A supernet and what it recognises."""

    name: str
    kind: str
    classes: list[str]
    groups: dict[str, list[str]]
    input: InputView
    dense: DenseView
    card: dict[str, Any]


class LeftOutView(View):
    """A supernet that no model can be cut out of now, and what it lacks."""

    name: str
    kind: str | None
    lacks: str


class SupernetsView(View):
    """All supernets, and those that are left out."""

    supernets: list[SupernetView]
    left_out: list[LeftOutView]


class TaskView(View):
    """What can be asked for: any classes of one supernet, and groups of them."""

    kind: str
    supernet: str
    classes: list[str]
    groups: dict[str, list[str]]


class TasksView(View):
    """All tasks."""

    tasks: list[TaskView]


class VersionView(View):
    """A profile that was uploaded; of each supernet the newest is used."""

    version: int
    digest: str
    supernet: str | None
    supernet_digest: str
    created_at: str
    used: bool


class DeviceView(View):
    """A device, with its measured profile for each supernet, None where that is not measured yet."""

    name: str
    title: str
    runtime: str
    threads: int
    measured_here: bool
    profiles: dict[str, dict[str, Any] | None]
    # What was made here alone has them; lists tell of no versions.
    id: str | None = None
    created_at: str | None = None
    versions: list[VersionView] | None = None


class DevicesView(View):
    """All devices."""

    devices: list[DeviceView]


class KeyView(View):
    """A key; its secret is told once, when it is made."""

    id: str
    tenant: str
    scopes: list[Scope]
    label: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None


class NewKeyView(KeyView):
    """A key that was just made, with its secret."""

    secret: str


class KeysView(View):
    """A page of keys, newest first."""

    keys: list[KeyView]
    next_page_token: str | None


class WebhookView(View):
    """A webhook; a secret is told once, when it is made. The one of before signs along until a certain time."""

    id: str
    url: str
    events: list[str]
    description: str | None
    created_at: str
    disabled_at: str | None
    disabled_reason: str | None
    old_secret_until: str | None


class NewWebhookView(WebhookView):
    """A webhook whose secret was just made, with it."""

    secret: str


class WebhooksView(View):
    """A page of webhooks, newest first."""

    webhooks: list[WebhookView]
    next_page_token: str | None


class DeliveryView(View):
    """A message to a webhook: ``pending``, ``delivered`` or ``failed``, and how the last attempt ended."""

    id: str
    webhook_id: str
    message_id: str
    event: str
    state: str
    attempts: int
    created_at: str
    last_attempt_at: str | None
    next_attempt_at: str | None
    status_code: int | None
    error: str | None
    replay_of: str | None


class DeliveriesView(View):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryView]
    next_page_token: str | None


class EntryView(View):
    """Something that was done: ``tenant`` is whose affair it was, ``target`` what was acted on."""

    id: str
    at: str
    action: Action
    tenant: str | None
    key_id: str | None
    target: str | None
    count: int
    detail: str | None
    address: str | None
    request_id: str | None


class AuditView(View):
    """A page of the audit log, newest first."""

    entries: list[EntryView]
    next_page_token: str | None


class SigningKeyView(View):
    """The public key that the service's signatures are verified with, in PEM."""

    algorithm: str
    key_id: str
    public_key: str


class CodeView(View):
    """What an error code means."""

    code: str
    status: int
    title: str
    meaning: str
    fault: str
    retryable: bool


class HealthView(View):
    """The process answers."""

    status: str
    version: str


class ReadyView(View):
    """The service can take and do work."""

    status: str
    checks: dict[str, str]


def rfc3339(at: float | None) -> str | None:
    """Return a time, seconds since 1970, as text in UTC with milliseconds."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def view_job(job: "Job", place: "Place | None") -> JobView:
    """Return the body of a job.

    Args:
        job: as it stands.
        place: in the queue, when it is queued.
    """
    at_work = PlaceView(position=0, eta_s=0.0) if not job.done else None
    return JobView(
        id=job.id,
        model_id=job.model_id,
        state=job.state,
        done=job.done,
        phase=job.phase,
        progress=job.progress,
        phases=[PhaseView(**phase) for phase in job.phases],
        queue=PlaceView(position=place.position, eta_s=place.eta_s) if place else at_work,
        attempt=job.attempt,
        scenario=job.scenario,
        scenario_digest=job.scenario_digest,
        reused_from=job.reused_from,
        created_at=rfc3339(job.created_at) or "",
        started_at=rfc3339(job.started_at),
        finished_at=rfc3339(job.finished_at),
        result=ResultView(**job.result) if job.result else None,
        error=job.error,
        links={
            "self": f"/jobs/{job.id}",
            "model": f"/models/{job.model_id}",
            "events": f"/jobs/{job.id}/events",
            "cancel": f"/jobs/{job.id}/cancel",
        },
    )


def view_report(report: "Report") -> ReportView:
    """Return the body of a report."""
    return ReportView(
        id=report.id,
        artifact_id=report.artifact_id,
        created_at=rfc3339(report.created_at) or "",
        **report.figures.model_dump(),
    )


def view_model(model: "Model", summary: "Summary") -> ModelView:
    """Return the body of a model, with what the reports on it say."""
    artifacts = [ArtifactView(**one) for one in model.result["artifacts"]]
    by_kind = {one.kind: one for one in artifacts}
    return ModelView(
        id=model.id,
        job_id=model.job_id,
        created_at=rfc3339(model.created_at) or "",
        name=model.scenario["name"],
        scenario=model.scenario,
        scenario_digest=model.scenario_digest,
        **{**model.result, "artifacts": artifacts},
        links={
            "self": f"/models/{model.id}",
            "job": f"/jobs/{model.job_id}",
            "artifact": f"/artifacts/{by_kind['model'].id}",
            "manifest": f"/artifacts/{by_kind['model'].id}/manifest",
            # Models of earlier versions have none.
            **({"bundle": f"/artifacts/{by_kind['bundle'].id}"} if "bundle" in by_kind else {}),
        },
        reports=ReportSummaryView(count=summary.count, latency_ms=summary.latency_ms),
    )


def view_webhook(webhook: "Webhook") -> WebhookView:
    """Return the body of a webhook."""
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        events=webhook.events,
        description=webhook.description,
        created_at=rfc3339(webhook.created_at) or "",
        disabled_at=rfc3339(webhook.disabled_at),
        disabled_reason=webhook.disabled_reason,
        old_secret_until=rfc3339(webhook.old_secret_until),
    )


def view_delivery(delivery: "Delivery") -> DeliveryView:
    """Return the body of a delivery."""
    return DeliveryView(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        message_id=delivery.message,
        event=delivery.event,
        state=delivery.state,
        attempts=delivery.attempts,
        created_at=rfc3339(delivery.created_at) or "",
        last_attempt_at=rfc3339(delivery.last_at),
        next_attempt_at=rfc3339(delivery.next_at),
        status_code=delivery.status,
        error=delivery.error,
        replay_of=delivery.replay_of,
    )


def view_key(key: "Key") -> KeyView:
    """Return the body of a key."""
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        scopes=list(key.scopes),
        label=key.label,
        created_at=rfc3339(key.created_at) or "",
        expires_at=rfc3339(key.expires_at),
        revoked_at=rfc3339(key.revoked_at),
        last_used_at=rfc3339(key.last_used_at),
    )


def view_entry(entry: "Entry") -> EntryView:
    """Return the body of an entry of the audit log."""
    facts = {name: getattr(entry, name) for name in EntryView.model_fields}
    return EntryView(**{**facts, "at": rfc3339(entry.at)})
