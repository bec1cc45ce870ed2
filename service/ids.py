"""Ids: a type prefix, then 32 hexadecimal digits that sort by the time they were made."""

import re
import secrets
import threading
import time

FORM = r"[a-z]{3}_[0-9a-f]{32}"
_ID = re.compile(FORM)


_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``job_0193...``: 12 digits of milliseconds, 20 random ones.

    Those that one process makes sort by the order in which it made them, also within a millisecond.
    """
    global _last
    with _lock:
        now = (time.time_ns() // 1_000_000 << 80) + secrets.randbits(79)
        _last = now if now >> 80 > _last >> 80 else _last + 1 + secrets.randbits(40)
        return f"{prefix}_{_last:032x}"


def first_id(prefix: str, at: float) -> str:
    """Return an id that sorts before all that are made from a time on, s since 1970 UTC."""
    return f"{prefix}_{max(0, int(at * 1000)) << 80:032x}"


def is_id(text: str, prefix: str) -> bool:
    """Return whether a text has the form of an id of this type."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None
