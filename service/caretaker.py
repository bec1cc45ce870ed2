"""The caretaker: what is old goes, and so do files that nobody wants. It works in every HTTP process."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from itertools import islice

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from service.contents import (
    REMOVAL_S,
    Removal,
    begin_removal,
    doom_orphans,
    end_removal,
    forget_pins,
    has_doomed,
)
from service.db import now_in
from service.house import House
from service.outbox import KEPT_S, forget_deliveries
from service.removal import REMEMBERED_S, forget_gone, has_old, retire
from service.reports import forget_reports
from service.store import LEFT_AFTER_S, Store

# So many are removed in one go, lest others wait for long.
AT_ONCE = 100
ORPHANS_AT_ONCE = 500
RETIRE_S = 10.0
TIDY_S = 3600.0
# A delivery may be on its way for so long.
UNSENT_S = 2 * 24 * 3600.0

log = logging.getLogger(__name__)


async def take_care(house: House) -> None:
    """Do what is due, for ever."""
    rounds: tuple[tuple[float, Callable[[House], Awaitable[object]], str], ...] = (
        (house.settings.beat_s, remove_doomed, "files that nobody wants could not be removed"),
        (RETIRE_S, retire_old, "what is old could not be removed"),
        (TIDY_S, tidy, "it could not be tidied up"),
    )
    # Not all at once when the process starts.
    due = {act: time.monotonic() + every_s / 60 for every_s, act, _ in rounds}
    while True:
        await asyncio.sleep(house.settings.beat_s)
        for every_s, act, failed in rounds:
            if time.monotonic() >= due[act]:
                due[act] = time.monotonic() + every_s
                try:
                    await act(house)
                except Exception as error:
                    house.metrics.store_errors.inc(isinstance(error, OSError))
                    log.exception(failed)


async def remove_doomed(house: House) -> int:
    """Remove the doomed contents that nobody wants; return how many there were."""
    count = 0
    while await house.database.read(lambda connection: has_doomed(connection, now=now_in(connection))):
        begun = time.monotonic()
        removal = await house.database.write(_begin)
        await run_in_threadpool(_remove, house.store, removal.digests, begun + REMOVAL_S / 2)
        await house.database.note(end_removal, removal)
        count += len(removal.digests)
    return count


async def retire_old(house: House) -> int:
    """Delete the jobs and models that are older than the settings want them; return how many there were."""
    if house.settings.keep_s is None:
        return 0
    count, kept_s = 0, house.settings.keep_s
    while await house.database.read(_has_old, kept_s):
        count += await house.database.write(_retire, kept_s)
    return count


async def tidy(house: House) -> int:
    """Doom files that were stored and belong to nothing, and forget what need not be known; return how many files."""
    await house.database.note(forget_pins)
    await house.database.note(forget_reports)
    kept_s = min(KEPT_S, max(house.settings.keep_s or KEPT_S, UNSENT_S))
    await house.database.note(_forget, kept_s)
    stored = house.store.stored_before(time.time() - LEFT_AFTER_S)
    count = 0
    while some := await run_in_threadpool(lambda: list(islice(stored, ORPHANS_AT_ONCE))):
        count += await house.database.note(_doom, some)
    if count:
        log.warning("%d stored files belong to no artifact and are removed", count)
    return count


def _begin(connection: Connection) -> Removal:
    return begin_removal(connection, now=now_in(connection), limit=AT_ONCE)


def _has_old(connection: Connection, kept_s: float) -> bool:
    return has_old(connection, before=now_in(connection) - kept_s)


def _retire(connection: Connection, kept_s: float) -> int:
    now = now_in(connection)
    return retire(connection, before=now - kept_s, now=now, limit=AT_ONCE)


def _forget(connection: Connection, kept_s: float) -> None:
    now = now_in(connection)
    forget_deliveries(connection, before=now - kept_s)
    forget_gone(connection, before=now - REMEMBERED_S)


def _doom(connection: Connection, digests: list[str]) -> int:
    return doom_orphans(connection, digests, now=now_in(connection))


def _remove(store: Store, digests: tuple[str, ...], until: float) -> None:
    """Remove contents from the store, unless that takes so long that somebody else may have begun to."""
    for digest in digests:
        if time.monotonic() > until:
            raise TimeoutError("the store takes too long to remove files")
        store.remove(digest)
