"""Operations on models: submit, check, list, delete, and from a scenario to its file in one."""

import math
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assembler.artifact import Estimate
from service.calls.answers import (
    Sent,
    fetch,
    id_of,
    listed,
    parsed,
    parsed_object,
    posted,
    request,
    to_bytes,
)
from service.calls.downloads import download, writable
from service.calls.errors import (
    AnswerInvalid,
    ArgumentInvalid,
    ClientError,
    JobFailed,
    ProblemError,
    TimedOut,
)
from service.calls.jobs import LONG_POLL_S, PAGE_SIZE, cancel, get_job, wait
from service.calls.steps import Flow, Setup, Stream
from service.schemas import ArtifactView, BatchView, JobView, ModelsView, ModelView
from service.state import State

NDJSON = "application/x-ndjson"
_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was made: its job, and the file that was downloaded."""

    job: JobView
    artifact: ArtifactView
    path: Path


def submit(
    setup: Setup, scenario: Sent, *, wait_s: float | None = None, idempotency_key: str | None = None
) -> Flow[JobView]:
    """Submit a scenario and return its job.

    Args:
        setup: of the client.
        scenario: a mapping, a Scenario, or its JSON.
        wait_s: answer when the job has ended, at most so much later (30).
        idempotency_key: a random one where none is given, so that a request that is sent again makes no second job.
    """
    headers = {"Idempotency-Key": _key(idempotency_key)}
    silence_s = setup.timeout_s
    if wait_s is not None:
        headers["Prefer"] = f"wait={max(0.0, wait_s):.3f}"
        silence_s += max(0.0, wait_s)
    call = posted("models", body=scenario, headers=headers, silence_s=silence_s)
    return parsed(JobView, (yield from fetch(setup, call)))


def check(setup: Setup, scenario: Sent) -> Flow[Estimate]:
    """Return whether a scenario can be met, with predicted figures or the nearest that can be had."""
    return parsed(Estimate, (yield from fetch(setup, posted("models", "check", body=scenario))))


def pareto(setup: Setup, scenario: Sent) -> Flow[dict[str, Any]]:
    """Return the predicted front of accuracy, latency, memory and size."""
    return parsed_object((yield from fetch(setup, posted("models", "pareto", body=scenario))))


def pareto_svg(setup: Setup, scenario: Sent) -> Flow[bytes]:
    """Return the predicted front as a picture, SVG."""
    call = posted("models", "pareto", body=scenario, headers={"Accept": "image/svg+xml"})
    answer = yield from fetch(setup, call)
    if not answer.headers.get("Content-Type", "").startswith("image/svg+xml"):
        raise AnswerInvalid("the answer is no SVG picture")
    return answer.content


def batch(
    setup: Setup, scenarios: Iterable[Sent] | bytes, *, idempotency_key: str | None = None
) -> Flow[BatchView]:
    """Submit many scenarios, all of them or none.

    Args:
        setup: of the client.
        scenarios: mappings, Scenarios or their JSON; bytes are a whole body, a JSON array or a line each.
        idempotency_key: a random one where none is given.
    """
    if isinstance(scenarios, bytes):
        content = scenarios
        kind = "application/json" if content.lstrip().startswith(b"[") else NDJSON
    else:
        content, kind = b"\n".join(_line(one) for one in scenarios), NDJSON
    headers = {"Content-Type": kind, "Idempotency-Key": _key(idempotency_key)}
    call = request("POST", "models", "batch", content=content, headers=headers, silence_s=4 * setup.timeout_s)
    return parsed(BatchView, (yield from fetch(setup, call)))


def get_model(setup: Setup, model: ModelView | str) -> Flow[ModelView]:
    """Return a model."""
    return parsed(ModelView, (yield from fetch(setup, request("GET", "models", id_of(model)))))


def list_models(setup: Setup, *, page_size: int = PAGE_SIZE) -> Stream[ModelView]:
    """Yield all models, newest first."""
    return listed(setup, ModelsView, lambda page: page.models, "models", page_size=page_size)


def delete_model(setup: Setup, model: ModelView | str) -> Flow[None]:
    """Remove a model and its files."""
    yield from fetch(setup, request("DELETE", "models", id_of(model)))


def generate(
    setup: Setup,
    scenario: Sent,
    path: Path | str,
    *,
    timeout_s: float | None = None,
    cancel_on_timeout: bool = True,
    idempotency_key: str | None = None,
    kind: str = "model",
    progress: Callable[[int, int], None] | None = None,
) -> Flow[Made]:
    """Submit a scenario, wait for its model and download it.

    Args:
        setup: of the client.
        scenario: a mapping, a Scenario, or its JSON.
        path: file to write.
        timeout_s: the job may take so long; None waits for as long as it takes.
        cancel_on_timeout: whether a job that takes longer is cancelled.
        idempotency_key: a random one where none is given.
        kind: of the file, ``model`` or ``bundle``.
        progress: is called with the bytes that are here, and all there are.

    Raises:
        ArgumentInvalid: the file could not be written; nothing was asked for.
        JobFailed: there is no model; ``code`` and ``diagnosis`` say why.
        TimedOut: the job did not end in time.
        DigestMismatch: the file is not what the job made.
    """
    path = writable(path)
    ends = math.inf if timeout_s is None else time.monotonic() + timeout_s
    first_s = LONG_POLL_S if timeout_s is None else min(LONG_POLL_S, timeout_s)
    job = yield from submit(setup, scenario, wait_s=first_s, idempotency_key=idempotency_key)
    if not job.done:
        left_s = None if timeout_s is None else max(0.0, ends - time.monotonic())
        try:
            job = yield from wait(setup, job, timeout_s=left_s)
        except TimedOut:
            job = yield from _give_up(setup, job.id, timeout_s or 0.0, cancel_on_timeout)
    artifact = artifact_of(job, kind)
    saved = yield from download(setup, artifact, path, progress=progress)
    return Made(job, artifact, saved)


def artifact_of(made: JobView | ModelView, kind: str = "model") -> ArtifactView:
    """Return a file of a job that succeeded, or of a model.

    Raises:
        JobFailed: the job made none.
        ArgumentInvalid: the job has not ended, or has no file of this kind.
    """
    if isinstance(made, JobView) and not made.done:
        raise ArgumentInvalid(f"{made.id} has not ended")
    if isinstance(made, JobView) and (made.state is not State.SUCCEEDED or made.result is None):
        raise JobFailed(made)
    files = made.artifacts if isinstance(made, ModelView) else made.result.artifacts if made.result else []
    for artifact in files:
        if artifact.kind == kind:
            return artifact
    raise ArgumentInvalid(f"{made.id} has no file of kind {kind}")


def _give_up(setup: Setup, job_id: str, timeout_s: float, cancels: bool) -> Flow[JobView]:
    """End a job that took too long; return it if it has ended by itself just now.

    Raises:
        TimedOut: it has not.
    """
    cancelled = False
    if cancels:
        try:
            yield from cancel(setup, job_id)
            cancelled = True
        except ProblemError as error:
            if error.code == "job-already-finished":
                return (yield from get_job(setup, job_id))
        except ClientError:
            pass
    raise TimedOut(job_id, timeout_s, cancelled=cancelled)


def _key(given: str | None) -> str:
    key = uuid.uuid4().hex if given is None else given
    if not _KEY.fullmatch(key):
        raise ArgumentInvalid("an idempotency_key has 1 to 255 visible ASCII characters")
    return key


def _line(scenario: Sent) -> bytes:
    return to_bytes(scenario).replace(b"\r", b" ").replace(b"\n", b" ")
