"""Errors as clients see them: one table of codes, and one shape (RFC 9457) for all of them."""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assembler.errors import (
    CompileFailed,
    FieldProblem,
    Infeasible,
    MalformedJson,
    MeasurementFailed,
    ScenarioInvalid,
    VerificationFailed,
)
from service.store import StoreAway

USER = "user"
SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means: HTTP status, whose fault it is, whether trying again may help."""

    status: int
    title: str
    meaning: str
    fault: str = USER
    retryable: bool = False


CODES: Mapping[str, Code] = {
    "malformed-json": Code(400, "Malformed JSON", "The body is not one strict JSON document in UTF-8."),
    "bad-page-token": Code(400, "Bad page token", "The page_token was not issued by this service."),
    "bad-query": Code(400, "Bad query", "A parameter of the query has a value that cannot be used."),
    "bad-header": Code(400, "Bad header", "A header of the request has a value that cannot be used."),
    "bad-request": Code(400, "Bad request", "The request is not HTTP as this service understands it."),
    "unauthenticated": Code(401, "Key needed", "The request has no key, or one that is not good (any more)."),
    "insufficient-scope": Code(403, "Scope needed", "The key is not good for this."),
    "not-found": Code(404, "Not found", "There is nothing at this address."),
    "method-not-allowed": Code(405, "Method not allowed", "The header Allow lists what this address can do."),
    "not-acceptable": Code(406, "Not acceptable", "What the header Accept asks for cannot be made here."),
    "idempotency-in-progress": Code(
        409, "Still in progress", "A request with this Idempotency-Key is being answered.", retryable=True
    ),
    "idempotency-key-reused": Code(
        422, "Key used again", "The Idempotency-Key was used for a request with another body."
    ),
    "job-already-finished": Code(409, "Job already finished", "It has ended and cannot be cancelled."),
    "webhook-disabled": Code(
        409, "Webhook disabled", "Its receiver said that it is gone; it can be enabled again."
    ),
    "too-many-webhooks": Code(409, "Too many webhooks", "The tenant has as many as it may have."),
    "name-taken": Code(409, "Name taken", "There is one of this name already."),
    "too-many-devices": Code(409, "Too many devices", "The tenant has as many as it may have."),
    "too-many-profiles": Code(
        409, "Too many profiles", "The device has as many versions as it may have; make another device."
    ),
    "model-not-finished": Code(409, "Model not finished", "Its job has not ended; cancel that first."),
    "artifact-expired": Code(410, "Artifact expired", "It was deleted, or kept for as long as it should be."),
    "precondition-failed": Code(412, "Precondition failed", "The header If-Match names other content."),
    "body-too-large": Code(413, "Body too large", "The body is larger than this service reads."),
    "batch-too-large": Code(413, "Batch too large", "It has more scenarios than jobs may wait."),
    "unsupported-media-type": Code(415, "Unsupported media type", "The body must be application/json."),
    "range-not-satisfiable": Code(
        416,
        "Range not satisfiable",
        "The file has none of the bytes asked for; Content-Range says its length.",
    ),
    "scenario-invalid": Code(422, "Invalid scenario", "A field of the scenario breaks the contract."),
    "unknown-class": Code(422, "Unknown class", "No supernet knows all the classes of the task."),
    "ambiguous-supernet": Code(422, "Ambiguous supernet", "Several supernets know the classes; name one."),
    "unknown-device": Code(422, "Unknown device", "There is no device of this name; see /devices."),
    "device-not-measured": Code(
        422, "Device not measured", "No profile of this device was uploaded for the supernet."
    ),
    "unsupported-format": Code(422, "Unsupported format", "Models are not made in this format or precision."),
    "no-limits": Code(422, "No limits", "A scenario sets at least one limit."),
    "report-invalid": Code(422, "Invalid report", "A field of the report cannot be used."),
    "device-invalid": Code(422, "Invalid device", "A field of the device cannot be used."),
    "profile-invalid": Code(422, "Invalid profile", "A field of the device's profile cannot be used."),
    "webhook-invalid": Code(422, "Invalid webhook", "A field of the webhook cannot be used."),
    "webhook-url-forbidden": Code(
        422,
        "Address forbidden",
        "The service sends nothing there: it is not in the public network, or spelt oddly.",
    ),
    "key-invalid": Code(422, "Invalid key", "A field of the key that is to be made cannot be used."),
    "rate-limited": Code(
        429, "Too many requests", "The tenant sends more requests than it may.", retryable=True
    ),
    "quota-exceeded": Code(429, "Quota exceeded", "Too many jobs of the tenant are waiting.", retryable=True),
    "queue-full": Code(503, "Queue full", "Too many jobs are waiting.", SERVICE, retryable=True),
    "database-unavailable": Code(
        503, "Database unavailable", "It cannot be reached now.", SERVICE, retryable=True
    ),
    "storage-unavailable": Code(
        503, "Storage unavailable", "A file cannot be read now.", SERVICE, retryable=True
    ),
    "draining": Code(
        503,
        "Draining",
        "This process is about to end; another one, or this address in a moment, will answer.",
        SERVICE,
        retryable=True,
    ),
    "not-ready": Code(
        503,
        "Not ready",
        "The device is still being measured, or no worker runs yet.",
        SERVICE,
        retryable=True,
    ),
    "scenario-infeasible": Code(
        422, "Infeasible scenario", "No model meets all the limits; the diagnosis says what comes nearest."
    ),
    "verification-failed": Code(500, "Verification failed", "The model did not pass its checks.", SERVICE),
    "compile-failed": Code(500, "Compilation failed", "The model file could not be made.", SERVICE),
    "out-of-memory": Code(
        500, "Out of memory", "The machine had too little memory.", SERVICE, retryable=True
    ),
    "timeout": Code(504, "Timeout", "The job ran longer than it was allowed to.", SERVICE, retryable=True),
    "deadline-passed": Code(
        504, "Deadline passed", "The deadline passed before work began.", SERVICE, retryable=True
    ),
    "worker-lost": Code(
        500, "Worker lost", "Workers were stopped each time they ran it.", SERVICE, retryable=True
    ),
    "storage-full": Code(
        507, "Storage full", "There is no room for the model file.", SERVICE, retryable=True
    ),
    "poisoned": Code(500, "Poisoned", "The job crashed its worker several times.", SERVICE),
    "internal": Code(500, "Internal error", "Something went wrong in the service.", SERVICE, retryable=True),
}


class ServiceError(Exception):
    """Base of all errors raised by the service room."""


class SettingInvalid(ServiceError):
    """A setting cannot be used; the message is one sentence for the person who started the program."""


class DataUnusable(ServiceError):
    """The data folder cannot be used as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"data folder {path}: {reason}")


class Refused(ServiceError):
    """A request that is answered with a problem."""

    def __init__(
        self,
        code: str,
        detail: str,
        problems: tuple[FieldProblem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail
        self.problems = problems
        self.headers = dict(headers or {})
        super().__init__(f"{code}: {detail}")


def problem(
    code: str,
    detail: str,
    *,
    instance: str,
    request_id: str,
    problems: tuple[FieldProblem, ...] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return the problem object of a code.

    Args:
        code: a key of CODES.
        detail: a sentence about this occurrence that never repeats what the client sent.
        instance: a URI of this occurrence.
        request_id: of the request that met it, or that submitted the job.
        problems: the faults of single fields.
        more: further members, such as ``diagnosis``.
    """
    known = CODES[code]
    return {
        "type": f"/problems/{code}",
        "title": known.title,
        "status": known.status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
        "retryable": known.retryable,
        "fault": known.fault,
        "errors": [{"pointer": one.pointer, "code": one.code, "detail": one.detail} for one in problems],
        **more,
    }


def refusal(error: Exception) -> Refused:
    """Return what a request is answered with when this error ended it."""
    # Not at the head of the file: the commands take their errors from here and must start quickly.
    from service.db import AWAY

    match error:
        case Refused():
            return error
        case MalformedJson():
            if error.pointer is None:
                return Refused("malformed-json", error.detail)
            fault = FieldProblem(error.pointer, "malformed-json", error.detail)
            return Refused("malformed-json", error.detail, (fault,))
        case ScenarioInvalid():
            return Refused(error.code, error.detail, error.problems)
        case _ if isinstance(error, AWAY):
            return Refused("database-unavailable", "the database cannot be reached now")
        case OSError():
            return Refused("storage-unavailable", "a file of the service cannot be read or written now")
    return Refused("internal", "something went wrong in the service; its log names this request")


def job_problem(error: BaseException, *, job_id: str, request_id: str) -> dict[str, Any]:
    """Return the problem object that stands in a job which this error ended."""
    problems: tuple[FieldProblem, ...] = ()
    more: dict[str, Any] = {}
    match error:
        case Infeasible():
            code, detail = "scenario-infeasible", str(error)
            more["diagnosis"] = error.diagnosis.model_dump(mode="json")
        case ScenarioInvalid():
            code, detail, problems = error.code, error.detail, error.problems
        case Refused():
            code, detail = error.code, error.detail
        case CompileFailed():
            code, detail = "compile-failed", str(error)
        case VerificationFailed() | MeasurementFailed():
            code, detail = "verification-failed", str(error)
        case _ if _is_out_of_memory(error):
            code, detail = "out-of-memory", "the worker ran out of memory"
        case StoreAway():
            code, detail = "storage-unavailable", "the store could not be reached for too long"
        case _ if _is_disk_full(error):
            code, detail = "storage-full", "there is no room left for the model file"
        case _:
            code, detail = "internal", "something went wrong in the worker; its log names this job"
    return problem(code, detail, instance=f"/jobs/{job_id}", request_id=request_id, problems=problems, **more)


def _is_out_of_memory(error: BaseException) -> bool:
    # The frameworks' own errors are told by name and text: this file must not load them.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "database or disk is full" in str(error)
