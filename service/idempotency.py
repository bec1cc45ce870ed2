"""Repeats: a request with a key that was seen before is answered as it was then, and nothing is done twice.

The key and what the request made stand in one transaction; the answer is added when it is known.
Source: draft-ietf-httpapi-idempotency-key-header.
"""

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from service.db import one_at_a_time
from service.errors import Refused
from service.tables import idempotency_keys as keys

KEPT_S = 48 * 3600.0
# A request that waits for its job answers within 30 s; what has no answer then lost its process.
IN_FLIGHT_S = 35.0


@dataclass(frozen=True, slots=True)
class Repeat:
    """What a key is remembered with.

    ``id`` is of the key itself and of what it is a key for, ``body_sha256`` of the meaning of the body.
    """

    id: str
    body_sha256: str

    @classmethod
    def of(cls, scope: str, key: str, body: str) -> "Repeat":
        """Return what is remembered of a request.

        Args:
            scope: what the key is a key for, such as the route.
            key: of the client.
            body: what was asked for, written so that equal requests are equal texts.
        """
        name, meaning = (hashlib.sha256(text.encode()).hexdigest() for text in (f"{scope}\n{key}", body))
        return cls(name, meaning)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request made (the id of a job or a batch), whether an earlier one did, and what was answered then.

    ``content`` is None where nothing was yet, or the process ended before it answered; ``eta_s`` is when the job is
    expected to end that was just made, ``refining_s`` for how long it will be refined.
    """

    made: str
    repeated: bool = False
    status: int = 202
    content: str | None = None
    eta_s: float = 0.0
    refining_s: float = 0.0


def find_repeat(
    connection: Connection, repeat: Repeat, *, now: float, alone: bool = False
) -> Answered | None:
    """Return what a request with this key was answered, None when there was none in the last 48 h.

    Args:
        connection: any transaction.
        repeat: the key.
        now: s.
        alone: whether no other transaction may do so until this one, which writes, has ended.

    Raises:
        Refused: it had another body, or is still being answered.
    """
    if alone:
        one_at_a_time(connection, f"key {repeat.id}")
    row = connection.execute(select(keys).where(keys.c.id == repeat.id)).first()
    if row is None or row.created_at <= now - KEPT_S:
        return None
    if row.body_sha256 != repeat.body_sha256:
        raise Refused(
            "idempotency-key-reused", "the Idempotency-Key was used for a request with another body"
        )
    if row.status is None and row.created_at > now - IN_FLIGHT_S:
        raise Refused(
            "idempotency-in-progress",
            "a request with this Idempotency-Key is still being answered",
            headers={"Retry-After": "1"},
        )
    return Answered(row.made, True, row.status or 202, row.content)


def note_repeat(connection: Connection, repeat: Repeat, made: str, *, now: float) -> None:
    """Remember a key with what it led to, in the transaction that makes it."""
    connection.execute(delete(keys).where(keys.c.id == repeat.id, keys.c.created_at <= now - KEPT_S))
    connection.execute(
        insert(keys).values(id=repeat.id, body_sha256=repeat.body_sha256, made=made, created_at=now)
    )


def note_answer(connection: Connection, repeat: Repeat, status: int, content: str) -> None:
    """Remember what a request with a key was answered first."""
    query = update(keys).where(keys.c.id == repeat.id, keys.c.status.is_(None))
    connection.execute(query.values(status=status, content=content))


def has_old_repeats(connection: Connection, *, now: float) -> bool:
    """Return whether ``forget_repeats`` would find anything; this only reads."""
    query = select(keys.c.id).where(keys.c.created_at <= now - KEPT_S).limit(1)
    return connection.execute(query).first() is not None


def forget_repeats(connection: Connection, *, now: float) -> int:
    """Forget the keys that are older than 48 h; return how many there were."""
    return connection.execute(delete(keys).where(keys.c.created_at <= now - KEPT_S)).rowcount
