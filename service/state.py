"""Where a job can stand; clients read this file too, so that it loads nothing of the service."""

from enum import StrEnum


class State(StrEnum):
    """Where a job stands; the last four are never left."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


DONE = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
