"""The audit log: who did what, when, and from where. What is done and its entry are one transaction."""

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, delete, select

from service.ids import new_id
from service.inserts import Insert
from service.scopes import Action as Action
from service.tables import audit


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
    entry = Entry(
        id=new_id("aud"),
        at=now,
        action=action,
        tenant=tenant,
        key_id=actor.key_id,
        target=target,
        count=count,
        detail=detail,
        address=actor.address,
        request_id=actor.request_id,
    )
    _insert(connection, [{name: getattr(entry, name) for name in Entry.__slots__}])


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
    return connection.execute(select(audit.c.id).where(audit.c.at < before).limit(1)).first() is not None


def forget_entries(connection: Connection, *, before: float) -> int:
    """Forget what is older than a time, s since 1970 UTC; return how many there were."""
    return connection.execute(delete(audit).where(audit.c.at < before)).rowcount


def _entry(row: RowMapping) -> Entry:
    return Entry(**{**row, "action": Action(row["action"])})
