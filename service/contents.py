"""Contents: which stored files are still wanted, and how those that are not go without taking others along.

A content is wanted while an artifact has its sha256, or while a job that is being worked on has pinned it: a worker
pins what it is about to store, or to use again, before it looks whether the store holds it. What nobody wants any more
is doomed, and a process that removes it says so first. A worker that pins waits for a removal that is under way, and
a removal begins only where nothing is pinned: both are decided one at a time.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.db import one_at_a_time
from service.jobs import Hold, State
from service.tables import artifacts, content_pins, doomed_contents, jobs

# A removal that has not ended then is taken to have died; it does not begin to remove anything after half of that.
REMOVAL_S = 120.0
PINNED_AGAIN_S = 5.0
LOCK = "contents"


@dataclass(frozen=True, slots=True)
class Removal:
    """The right to remove some contents until a time, s since 1970 UTC."""

    digests: tuple[str, ...]
    until: float


def decide_alone(connection: Connection) -> None:
    """Let nobody else pin, delete or begin to remove contents until this transaction has ended."""
    one_at_a_time(connection, LOCK)


def pin(connection: Connection, hold: Hold, digests: Collection[str], *, now: float) -> bool:
    """Have contents stay for as long as this attempt of a job runs; say whether none is being removed right now.

    Args:
        connection: a writing transaction.
        hold: of the worker that will store them or has found them.
        digests: sha256, hexadecimal.
        now: s.
    """
    decide_alone(connection)
    going = select(doomed_contents.c.sha256).where(
        doomed_contents.c.sha256.in_(digests), doomed_contents.c.removing, doomed_contents.c.due_at > now
    )
    if connection.execute(going.limit(1)).first() is not None:
        return False
    unpin(connection, hold.job_id)
    rows = [{"sha256": one, "job_id": hold.job_id, "attempt": hold.attempt} for one in set(digests)]
    if rows:
        connection.execute(insert(content_pins), rows)
    return True


def unpin(connection: Connection, job_id: str) -> None:
    """Forget what a job has pinned: it has ended, and its artifacts say the rest."""
    connection.execute(delete(content_pins).where(content_pins.c.job_id == job_id))


def forget_pins(connection: Connection) -> int:
    """Forget the pins of attempts that are over; return how many there were."""
    return connection.execute(delete(content_pins).where(~_holds(content_pins.c.job_id))).rowcount


def doom(connection: Connection, digests: Collection[str], *, now: float) -> None:
    """Have contents removed unless they are wanted; ``decide_alone`` comes first in such a transaction."""
    rows = [{"sha256": one, "removing": False, "due_at": now} for one in sorted(set(digests))]
    if rows:
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(make(doomed_contents).on_conflict_do_nothing(), rows)


def doom_orphans(connection: Connection, digests: Collection[str], *, now: float) -> int:
    """Doom those contents that no artifact has; return how many there are."""
    decide_alone(connection)
    known = set(connection.scalars(select(artifacts.c.sha256).where(artifacts.c.sha256.in_(digests))))
    orphans = set(digests) - known
    doom(connection, orphans, now=now)
    return len(orphans)


def has_doomed(connection: Connection, *, now: float) -> bool:
    """Return whether ``begin_removal`` would find anything; this only reads."""
    query = select(doomed_contents.c.sha256).where(doomed_contents.c.due_at <= now)
    return connection.execute(query.limit(1)).first() is not None


def begin_removal(connection: Connection, *, now: float, limit: int) -> Removal:
    """Return what may be removed from the store now: doomed, and wanted by nobody."""
    decide_alone(connection)
    due = select(doomed_contents.c.sha256).where(doomed_contents.c.due_at <= now)
    digests = list(connection.scalars(due.order_by(doomed_contents.c.due_at).limit(limit)))
    kept = select(artifacts.c.sha256).where(artifacts.c.sha256.in_(digests))
    wanted = set(connection.scalars(kept))
    pinned = set(
        connection.scalars(
            select(content_pins.c.sha256).where(
                content_pins.c.sha256.in_(digests), _holds(content_pins.c.job_id)
            )
        )
    )
    free = tuple(one for one in digests if one not in wanted | pinned)
    _forget(connection, wanted)
    _look_again(connection, pinned - wanted, removing=False, due_at=now + PINNED_AGAIN_S)
    _look_again(connection, free, removing=True, due_at=now + REMOVAL_S)
    return Removal(free, now + REMOVAL_S)


def end_removal(connection: Connection, removal: Removal) -> None:
    """Note that contents are gone from the store, unless another process has taken their removal over."""
    connection.execute(
        delete(doomed_contents).where(
            doomed_contents.c.sha256.in_(removal.digests), doomed_contents.c.due_at == removal.until
        )
    )


def _holds(job_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether the attempt of a pin can still end with a model."""
    return (
        select(jobs.c.id)
        .where(jobs.c.id == job_id, jobs.c.attempt == content_pins.c.attempt, jobs.c.state == State.RUNNING)
        .exists()
    )


def _forget(connection: Connection, digests: Collection[str]) -> None:
    connection.execute(delete(doomed_contents).where(doomed_contents.c.sha256.in_(digests)))


def _look_again(connection: Connection, digests: Collection[str], *, removing: bool, due_at: float) -> None:
    query = update(doomed_contents).where(doomed_contents.c.sha256.in_(digests))
    connection.execute(query.values(removing=removing, due_at=due_at))
