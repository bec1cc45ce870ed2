"""What keys may be good for, for whom, and what is written down of it. Loads nothing heavy; clients need it too."""

import re
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do. None holds another, but that an operator is an admin of every tenant."""

    READ = "read"
    WRITE = "write"
    METRICS = "metrics"
    ADMIN = "admin"
    OPERATOR = "operator"


class Action(StrEnum):
    """What the audit log tells of."""

    KEY_CREATED = "key-created"
    KEY_REVOKED = "key-revoked"
    JOB_SUBMITTED = "job-submitted"
    BATCH_SUBMITTED = "batch-submitted"
    JOB_CANCELLED = "job-cancelled"
    MODEL_DELETED = "model-deleted"
    WEBHOOK_CREATED = "webhook-created"
    WEBHOOK_ENABLED = "webhook-enabled"
    WEBHOOK_ROTATED = "webhook-rotated"
    WEBHOOK_DELETED = "webhook-deleted"
    DEVICE_CREATED = "device-created"
    DEVICE_DELETED = "device-deleted"
    PROFILE_UPLOADED = "profile-uploaded"
    AUTHENTICATION_FAILED = "authentication-failed"


USUAL = (Scope.READ, Scope.WRITE)
# Whose everything is where no keys are wanted.
DEFAULT_TENANT = "default"
TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
TENANT_FORM = "1 to 63 of a-z, 0-9 and hyphens, beginning with no hyphen"
MAX_LABEL = 200
MAX_LIFE_S = 10 * 366 * 24 * 3600.0
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


def seconds_of(text: str) -> float | None:
    """Return the seconds of a time such as ``30d`` (units s, m, h, d, w), None where it is none or over ten years."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if found is None:
        return None
    seconds = float(int(found[1]) * _UNITS_S[found[2]])
    return seconds if 0 < seconds <= MAX_LIFE_S else None
