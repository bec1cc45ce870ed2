"""Operations on jobs: read, list, cancel, wait."""

import math
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from service.calls.answers import fetch, id_of, listed, parsed, request
from service.calls.errors import TimedOut
from service.calls.patience import Backoff, retry_after_s
from service.calls.steps import Flow, Pause, Setup, Stream
from service.schemas import JobsView, JobView
from service.state import State

# The service waits for up to 30 s; less is asked for, since some proxies cut what is silent for so long.
LONG_POLL_S = 25.0
PAGE_SIZE = 200


def get_job(setup: Setup, job: JobView | str) -> Flow[JobView]:
    """Return a job as it stands."""
    return parsed(JobView, (yield from fetch(setup, request("GET", "jobs", id_of(job)))))


def list_jobs(
    setup: Setup,
    *,
    state: State | str | None = None,
    device: str | None = None,
    labels: Iterable[str] = (),
    batch: str | None = None,
    created_after: datetime | str | None = None,
    page_size: int = PAGE_SIZE,
) -> Stream[JobView]:
    """Yield the jobs that meet everything that is set, newest first.

    Args:
        setup: of the client.
        state: where they stand.
        device: that they are for.
        labels: ``key:value``, or ``key`` for any value; all of them.
        batch: id of the batch they came in.
        created_after: a time with its zone, or its text in UTC.
        page_size: so many are asked for at once.
    """
    if isinstance(created_after, datetime):
        created_after = created_after.astimezone(UTC).isoformat().replace("+00:00", "Z")
    only = {
        "state": state,
        "device": device,
        "label": list(labels),
        "batch": batch,
        "created_after": created_after,
    }
    return listed(setup, JobsView, lambda page: page.jobs, "jobs", page_size=page_size, params=only)


def cancel(setup: Setup, job: JobView | str) -> Flow[JobView]:
    """Ask for a job's end and return it; a running one ends within 10 s."""
    return parsed(JobView, (yield from fetch(setup, request("POST", "jobs", id_of(job), "cancel"))))


def wait(setup: Setup, job: JobView | str, *, timeout_s: float | None = None) -> Flow[JobView]:
    """Return a job once it has ended, however it has.

    Args:
        setup: of the client.
        job: to wait for.
        timeout_s: wait no longer; None waits for as long as it takes.

    Raises:
        TimedOut: it has not ended in time; it goes on.
    """
    ends = math.inf if timeout_s is None else time.monotonic() + timeout_s
    backoff = Backoff(setup.patience)
    while True:
        asked = time.monotonic()
        wait_s = max(0.0, min(LONG_POLL_S, ends - asked))
        call = request(
            "GET",
            "jobs",
            id_of(job),
            params={"wait": f"{wait_s:.3f}"},
            silence_s=wait_s + setup.timeout_s,
        )
        answer = yield from fetch(setup, call)
        found = parsed(JobView, answer)
        now = time.monotonic()
        if found.done:
            return found
        if now >= ends:
            raise TimedOut(found.id, timeout_s or 0.0)
        if now - asked >= wait_s / 2:
            backoff.start()
        else:
            # It did not wait: it is about to end, or something between us does not let it.
            pause_s = backoff.pause_s() + (retry_after_s(answer.headers.get("Retry-After")) or 0.0)
            yield Pause(min(pause_s, ends - now))
