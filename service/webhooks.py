"""Webhooks: who wants to be told of what. The secret that signs is kept as it is, since every message needs it."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, delete, func, insert, select, update

from service.db import one_at_a_time
from service.errors import Refused
from service.ids import new_id
from service.tables import deliveries, webhooks

SECRET_BYTES = 32
MAX_WEBHOOKS = 50
# Messages are signed with the secret of before as well for so long after it was replaced.
OVERLAP_S = 24 * 3600.0


class Kind(StrEnum):
    """What webhooks tell of."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_EXPIRED = "job.expired"
    MODEL_DELETED = "model.deleted"


EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One row; times are s since 1970 UTC. One that is disabled is sent nothing.

    ``old_secret`` is what it had before ``secret``, and signs along until ``old_secret_until``.
    """

    id: str
    tenant: str
    url: str
    events: list[str]
    description: str | None
    secret: str
    created_at: float
    disabled_at: float | None = None
    disabled_reason: str | None = None
    old_secret: str | None = None
    old_secret_until: float | None = None


def create_webhook(
    connection: Connection,
    tenant: str,
    *,
    url: str,
    events: Sequence[str],
    description: str | None,
    now: float,
) -> Webhook:
    """Insert a webhook with a fresh secret and return it.

    Raises:
        Refused: ``too-many-webhooks``, the tenant has 50.
    """
    one_at_a_time(connection, f"webhooks of {tenant}")
    count = select(func.count()).select_from(webhooks).where(webhooks.c.tenant == tenant)
    if (connection.scalar(count) or 0) >= MAX_WEBHOOKS:
        raise Refused("too-many-webhooks", f"there are {MAX_WEBHOOKS} webhooks already")
    made = Webhook(new_id("whk"), tenant, url, list(dict.fromkeys(events)), description, _new_secret(), now)
    connection.execute(insert(webhooks).values({name: getattr(made, name) for name in Webhook.__slots__}))
    return made


def get_webhook(connection: Connection, tenant: str, webhook_id: str) -> Webhook | None:
    """Return a tenant's webhook, or None when it has none of this id."""
    query = select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.tenant == tenant)
    row = connection.execute(query).mappings().first()
    return None if row is None else Webhook(**row)


def list_webhooks(
    connection: Connection, tenant: str, *, before: str | None = None, limit: int
) -> list[Webhook]:
    """Return a tenant's webhooks, newest first, only those older than the one of the id ``before``."""
    query = select(webhooks).where(webhooks.c.tenant == tenant).order_by(webhooks.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(webhooks.c.id < before)
    return [Webhook(**row) for row in connection.execute(query).mappings()]


def enable_webhook(connection: Connection, tenant: str, webhook_id: str) -> bool:
    """Have a tenant's webhook be sent messages again; say whether it was disabled."""
    found = update(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.tenant == tenant)
    disabled = found.where(webhooks.c.disabled_at.is_not(None))
    return connection.execute(disabled.values(disabled_at=None, disabled_reason=None)).rowcount == 1


def rotate_secret(connection: Connection, webhook: Webhook, *, now: float) -> Webhook:
    """Give a webhook another secret and return it as it is then; only the last one before signs along."""
    made = replace(webhook, secret=_new_secret(), old_secret=webhook.secret, old_secret_until=now + OVERLAP_S)
    changed = {name: getattr(made, name) for name in ("secret", "old_secret", "old_secret_until")}
    connection.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(changed))
    return made


def has_old_secrets(connection: Connection, *, now: float) -> bool:
    """Return whether ``forget_old_secrets`` would find anything; this only reads."""
    query = select(webhooks.c.id).where(webhooks.c.old_secret_until <= now).limit(1)
    return connection.execute(query).first() is not None


def forget_old_secrets(connection: Connection, *, now: float) -> int:
    """Remove secrets that have signed along for long enough; return how many there were."""
    found = update(webhooks).where(webhooks.c.old_secret_until <= now)
    return connection.execute(found.values(old_secret=None, old_secret_until=None)).rowcount


def delete_webhook(connection: Connection, tenant: str, webhook_id: str) -> bool:
    """Delete a webhook with its deliveries, also those that are not sent yet; say whether it was there."""
    found = delete(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.tenant == tenant)
    if connection.execute(found).rowcount != 1:
        return False
    connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
    return True


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
