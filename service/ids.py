"""Ids: a type prefix, then 32 hexadecimal digits that sort by the time they were made."""

import re
import secrets
import time

FORM = r"[a-z]{3}_[0-9a-f]{32}"
_ID = re.compile(FORM)


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``job_0193...``: 12 digits of milliseconds, 20 random ones."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_id(text: str, prefix: str) -> bool:
    """Return whether a text has the form of an id of this type."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None
