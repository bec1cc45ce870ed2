"""The audit log: who did what, when, and from where. What is done and its entry are one transaction."""

from dataclasses import dataclass
from itertools import takewhile

from sqlalchemy import Connection, RowMapping, delete, select

from service.ids import new_id
from service.inserts import Insert
from service.scopes import Action as Action
from service.tables import audit

# Ids sort by time: what is old stands first.
FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: with which key (None: by the program's commands, or where no keys are wanted), and from where."""

    key_id: str | None = None
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: ``tenant`` is whose affair it was, ``target`` the id of what was acted on, ``at`` s since 1970 UTC.

    ``count`` is how many times (failed authentications), or of how many (scenarios of a batch).
    """

    id: str
    at: float
    action: Action
    tenant: str | None
    key_id: str | None
    target: str | None
    count: int
    detail: str | None
    address: str | None
    request_id: str | None


_insert = Insert(audit, Entry.__slots__)


def note(
    connection: Connection,
    action: Action,
    actor: Actor,
    *,
    tenant: str | None,
    target: str | None = None,
    count: int = 1,
    detail: str | None = None,
    now: float,
) -> None:
    """Write down what was done; arguments are those of ``Entry``."""
    row = {
        "id": new_id("aud"),
        "at": now,
        "action": action,
        "tenant": tenant,
        "key_id": actor.key_id,
        "target": target,
        "count": count,
        "detail": detail,
        "address": actor.address,
        "request_id": actor.request_id,
    }
    _insert(connection, [row])


def list_entries(
    connection: Connection,
    tenant: str | None,
    *,
    action: Action | None = None,
    key_id: str | None = None,
    before: str | None = None,
    limit: int,
) -> list[Entry]:
    """Return entries, newest first.

    Args:
        connection: any transaction.
        tenant: whose affairs; None for all.
        action: only of this kind.
        key_id: only what was done with this key.
        before: only those older than the one of this id.
        limit: at most this many.
    """
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    for column, value in ((audit.c.tenant, tenant), (audit.c.action, action), (audit.c.key_id, key_id)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [_entry(row) for row in connection.execute(query).mappings()]


def has_old_entries(connection: Connection, *, before: float) -> bool:
    """Return whether ``forget_entries`` would find anything; this only reads."""
    oldest = connection.scalar(select(audit.c.at).order_by(audit.c.id).limit(1))
    return oldest is not None and oldest < before


def forget_entries(connection: Connection, *, before: float) -> int:
    """Forget some of what is older than a time, s since 1970 UTC, the oldest first; return how many there were."""
    oldest = connection.execute(select(audit.c.id, audit.c.at).order_by(audit.c.id).limit(FORGOTTEN_AT_ONCE))
    old = [row.id for row in takewhile(lambda row: row.at < before, oldest)]
    if old:
        connection.execute(delete(audit).where(audit.c.id <= old[-1]))
    return len(old)


def _entry(row: RowMapping) -> Entry:
    return Entry(**{**row, "action": Action(row["action"])})
