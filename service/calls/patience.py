"""Patience: what is tried again, when, and for how long.

Source: capped exponential backoff with full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from service.calls.errors import ClientError, ProblemError, Unreachable

# Beside these, a 409 that the service itself calls retryable: the first of two equal requests is still being answered.
AGAIN = frozenset({409, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is tried again.

    Args:
        total_s: from the first try until an error is raised; 0 tries once.
        base_s: the first pause lasts up to so long, each further one twice that.
        cap_s: no pause is longer, unless the service asks for it (``Retry-After``).
    """

    total_s: float = 60.0
    base_s: float = 0.25
    cap_s: float = 8.0


class Backoff:
    """The pauses between the tries of one request."""

    def __init__(self, patience: Patience, within_s: float | None = None) -> None:
        """Begin.

        Args:
            patience: of the client.
            within_s: a shorter time than the patience lasts.
        """
        self._patience = patience
        self._total_s = patience.total_s if within_s is None else min(within_s, patience.total_s)
        self.base_s = patience.base_s
        self.start()

    def start(self) -> None:
        """Begin anew: something was achieved."""
        self._ends = time.monotonic() + self._total_s
        self._tries = 0

    def pause_s(self, failure: ClientError | None = None) -> float:
        """Return how long to wait before the next try.

        Raises:
            ClientError: the failure itself, where there is no time for another try.
        """
        cap_s = self._patience.cap_s
        # The exponent is bounded for the sake of those who wait for days.
        pause_s = random.uniform(0, min(cap_s, self.base_s * 2.0 ** min(self._tries, 30)))
        pause_s += (isinstance(failure, ProblemError) and failure.retry_after_s) or 0.0
        self._tries += 1
        if failure is not None and time.monotonic() + pause_s >= self._ends:
            raise failure
        return pause_s


def may_pass(failure: ClientError, *, repeatable: bool) -> bool:
    """Return whether a request that failed so may be sent again.

    Args:
        failure: of the last try.
        repeatable: whether the request may arrive twice.
    """
    match failure:
        case ProblemError():
            return failure.retryable and failure.status in AGAIN
        case Unreachable():
            return (repeatable or failure.unsent) and not failure.hopeless
    return False


def retry_after_s(text: str | None) -> float | None:
    """Return the seconds that a header ``Retry-After`` asks for, None where there is none that can be read."""
    if text is None:
        return None
    digits = text.strip()
    if digits.isascii() and digits.isdigit():
        return float(digits)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
