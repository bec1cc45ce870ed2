"""The outbox: what is to be told stands in the transaction that makes it happen, and stays until it has been sent.

A process that sends a delivery claims it for a while by one conditional UPDATE; the attempt number fences. One that
dies meanwhile is followed by another when that while is over, so that every delivery is sent at least once.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from service.ids import first_id, new_id
from service.schemas import rfc3339, view_job
from service.tables import deliveries, webhooks
from service.webhooks import EVERYTHING, Kind, Webhook

if TYPE_CHECKING:
    from service.jobs import Job

# After an attempt that failed, the next one comes so much later; after the last of these it is given up.
DELAYS_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
JITTER = 0.2
MAX_DELAY_S = 24 * 3600.0
LEASE_S = 60.0
KEPT_S = 30 * 24 * 3600.0
GONE = 410
DISABLED = "the receiver said that it is gone (410)"


class Sent(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One row; times are s since 1970 UTC. ``message`` is what receivers know it by, also when it is replayed."""

    id: str
    webhook_id: str
    tenant: str
    message: str
    event: str
    body: str
    state: Sent
    attempts: int
    created_at: float
    next_at: float | None
    last_at: float | None = None
    status: int | None = None
    error: str | None = None
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one process to send one delivery, in this attempt, signed with each of some secrets."""

    id: str
    webhook_id: str
    message: str
    body: str
    attempt: int
    url: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: the status that it was answered with if any, and what went wrong if anything."""

    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None


def tell_of_job(connection: Connection, job: "Job", *, now: float) -> None:
    """Have webhooks told that a job has ended, in the transaction that ends it."""
    data = view_job(job, None).model_dump(mode="json")
    tell(connection, job.tenant, Kind(f"job.{job.state}"), data, now=now)


def is_heard(connection: Connection, tenant: Any) -> bool:
    """Return whether anybody wants to be told anything of a tenant, given by name or by a query."""
    query = select(webhooks.c.id).where(webhooks.c.tenant == tenant, webhooks.c.disabled_at.is_(None))
    return connection.execute(query.limit(1)).first() is not None


def tell(connection: Connection, tenant: str, kind: Kind, data: Mapping[str, Any], *, now: float) -> int:
    """Write deliveries for the webhooks of a tenant that want to be told of this; return how many.

    Args:
        connection: the transaction in which it happens.
        tenant: whose affair it is.
        kind: what happened.
        data: of the message.
        now: s.
    """
    query = select(webhooks.c.id, webhooks.c.events)
    rows = connection.execute(query.where(webhooks.c.tenant == tenant, webhooks.c.disabled_at.is_(None)))
    heard = [row.id for row in rows if EVERYTHING in row.events or kind in row.events]
    if heard:
        body = json.dumps({"type": kind, "timestamp": rfc3339(now), "data": data}, ensure_ascii=False)
        made = [_pending(one, tenant, kind, body, now) for one in heard]
        connection.execute(insert(deliveries), made)
    return len(heard)


def due_webhooks(connection: Connection, *, now: float) -> list[str]:
    """Return the webhooks that have deliveries to be sent now."""
    is_due = (
        select(deliveries.c.id)
        .where(deliveries.c.webhook_id == webhooks.c.id, deliveries.c.state == Sent.PENDING)
        .where(deliveries.c.next_at <= now)
        .exists()
    )
    query = select(webhooks.c.id).where(webhooks.c.disabled_at.is_(None), is_due)
    return list(connection.scalars(query.order_by(webhooks.c.id)))


def claim(
    connection: Connection, rooms: Mapping[str, int], *, now: float, lease_s: float = LEASE_S
) -> list[Claim]:
    """Claim the oldest due deliveries of webhooks, of each at most as many as there is room for."""
    return [
        one
        for webhook_id, room in rooms.items()
        for one in _claim(connection, webhook_id, room, now=now, lease_s=lease_s)
    ]


def note_outcome(connection: Connection, claim: Claim, outcome: Outcome, *, now: float) -> bool:
    """Write how an attempt ended, and when the next one is due; say whether the claim still held."""
    values: dict[str, Any] = {"last_at": now, "status": outcome.status, "error": outcome.error}
    if outcome.error is None:
        values |= {"state": Sent.DELIVERED, "next_at": None}
    elif outcome.status == GONE or claim.attempt > len(DELAYS_S):
        values |= {"state": Sent.FAILED, "next_at": None}
    else:
        values |= {"next_at": now + delay_s(claim.attempt, outcome.retry_after_s)}
    query = update(deliveries).where(
        deliveries.c.id == claim.id,
        deliveries.c.attempts == claim.attempt,
        deliveries.c.state == Sent.PENDING,
    )
    held = connection.execute(query.values(**values)).rowcount == 1
    if held and outcome.status == GONE:
        _disable(connection, claim.webhook_id, now=now)
    return held


def delay_s(attempt: int, retry_after_s: float | None = None) -> float:
    """Return how long after the failure of an attempt, counted from 1, the next one comes.

    Args:
        attempt: that failed.
        retry_after_s: what the receiver asked for; it is kept to as far as it is within a day.
    """
    planned = DELAYS_S[min(attempt, len(DELAYS_S)) - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(planned, min(retry_after_s or 0.0, MAX_DELAY_S))


def list_deliveries(
    connection: Connection, webhook_id: str, *, before: str | None = None, limit: int
) -> list[Delivery]:
    """Return the deliveries to a webhook, newest first, only those older than the one of the id ``before``."""
    query = select(deliveries).where(deliveries.c.webhook_id == webhook_id)
    query = query.order_by(deliveries.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    return [_delivery(row) for row in connection.execute(query).mappings()]


def get_delivery(connection: Connection, webhook_id: str, delivery_id: str) -> Delivery | None:
    """Return a delivery to a webhook, or None when there is none of this id."""
    query = select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.webhook_id == webhook_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else _delivery(row)


def replay(connection: Connection, webhook: Webhook, delivery: Delivery, *, now: float) -> Delivery:
    """Write a delivery once more, to be sent at once; receivers see the same message again."""
    made = _pending(webhook.id, webhook.tenant, delivery.event, delivery.body, now)
    made |= {"message": delivery.message, "replay_of": delivery.id}
    connection.execute(insert(deliveries).values(made))
    found = get_delivery(connection, webhook.id, made["id"])
    assert found is not None
    return found


def forget_deliveries(connection: Connection, *, before: float) -> int:
    """Forget the deliveries from before a time, s since 1970 UTC; return how many there were."""
    old = delete(deliveries).where(
        deliveries.c.id < first_id("dlv", before), deliveries.c.created_at < before
    )
    return connection.execute(old).rowcount


def _pending(webhook_id: str, tenant: str, kind: str, body: str, now: float) -> dict[str, Any]:
    made = new_id("dlv")
    return {
        "id": made,
        "webhook_id": webhook_id,
        "tenant": tenant,
        "message": made,
        "event": kind,
        "body": body,
        "state": Sent.PENDING,
        "attempts": 0,
        "created_at": now,
        "next_at": now,
        "replay_of": None,
    }


def _claim(
    connection: Connection, webhook_id: str, room: int, *, now: float, lease_s: float
) -> Sequence[Claim]:
    due = (
        select(
            deliveries, *(webhooks.c[name] for name in ("url", "secret", "old_secret", "old_secret_until"))
        )
        .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.state == Sent.PENDING)
        .where(deliveries.c.next_at <= now, webhooks.c.disabled_at.is_(None))
        .order_by(deliveries.c.next_at, deliveries.c.id)
        .limit(room)
    )
    found = []
    for row in connection.execute(due).all():
        query = update(deliveries).where(
            deliveries.c.id == row.id,
            deliveries.c.attempts == row.attempts,
            deliveries.c.state == Sent.PENDING,
            deliveries.c.next_at <= now,
        )
        values = {"attempts": row.attempts + 1, "next_at": now + lease_s}
        if connection.execute(query.values(**values)).rowcount == 1:
            attempt, overlaps = row.attempts + 1, now < (row.old_secret_until or 0.0)
            secrets = (row.secret, row.old_secret) if overlaps else (row.secret,)
            found.append(Claim(row.id, webhook_id, row.message, row.body, attempt, row.url, secrets))
    return found


def _disable(connection: Connection, webhook_id: str, *, now: float) -> None:
    query = update(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
    connection.execute(query.values(disabled_at=now, disabled_reason=DISABLED))
    waiting = update(deliveries).where(
        deliveries.c.webhook_id == webhook_id, deliveries.c.state == Sent.PENDING
    )
    connection.execute(waiting.values(state=Sent.FAILED, next_at=None, error=DISABLED))


def _delivery(row: RowMapping) -> Delivery:
    return Delivery(**{**row, "state": Sent(row["state"])})
