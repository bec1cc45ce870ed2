"""What can go wrong for a client; every error carries its facts as fields."""

from typing import TYPE_CHECKING, Any

from assembler.errors import FieldProblem

if TYPE_CHECKING:
    from service.schemas import JobView


class ClientError(Exception):
    """Base of all errors that a client raises."""


class ArgumentInvalid(ClientError, ValueError):
    """An argument cannot be sent: an address, a key or an id that is none."""


class Unreachable(ClientError):
    """The service gave no whole answer, also after trying again.

    ``unsent`` says that the request surely did not reach it; ``hopeless`` that trying again is of no use.
    """

    def __init__(self, url: str, reason: str, *, unsent: bool = False, hopeless: bool = False) -> None:
        self.url = url
        self.reason = reason
        self.unsent = unsent
        self.hopeless = hopeless
        super().__init__(f"{url} cannot be reached: {reason}")


class ProblemError(ClientError):
    """The service answered with a problem (RFC 9457), or something before it with an error of its own.

    ``code`` is that of the contract, or ``http-502`` and the like where the answer is no problem.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        *,
        title: str = "",
        problems: tuple[FieldProblem, ...] = (),
        request_id: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.status = status
        self.detail = detail
        self.title = title
        self.problems = problems
        self.request_id = request_id
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.body = body or {}
        super().__init__(f"{code}: {_sentence(detail, problems)}")


class AnswerInvalid(ClientError):
    """An answer is not what the contract says: not JSON, fields are missing, or it has no end."""


class JobFailed(ClientError):
    """A job ended without a model: it failed, was cancelled, or its deadline passed."""

    def __init__(self, job: "JobView") -> None:
        error = job.error or {}
        self.job = job
        self.code = str(error.get("code", job.state.value))
        self.detail = str(error.get("detail", f"the job has {job.state.value}"))
        self.diagnosis: dict[str, Any] | None = error.get("diagnosis")
        super().__init__(f"{job.id} {job.state.value}: {self.code}: {self.detail}")


class TimedOut(ClientError):
    """A job did not end in time; ``cancelled`` says whether it was asked to end for that."""

    def __init__(self, job_id: str, timeout_s: float, *, cancelled: bool = False) -> None:
        self.job_id = job_id
        self.timeout_s = timeout_s
        self.cancelled = cancelled
        super().__init__(
            f"{job_id} did not end within {timeout_s:g} s{', and is cancelled' if cancelled else ''}"
        )


class DownloadError(ClientError):
    """A file could not be downloaded."""


class DigestMismatch(DownloadError):
    """What was downloaded is not what was asked for; nothing of it is kept."""

    def __init__(self, artifact_id: str, expected: str, found: str) -> None:
        self.artifact_id = artifact_id
        self.expected = expected
        self.found = found
        super().__init__(f"{artifact_id}: the file has sha256 {found}, not {expected}")


class SignatureInvalid(DownloadError):
    """A file is not signed with the key it should be; nothing of it is kept."""

    def __init__(self, artifact_id: str) -> None:
        self.artifact_id = artifact_id
        super().__init__(f"{artifact_id}: the file is not signed with this key")


class DownloadBusy(DownloadError):
    """Somebody else is downloading the same file to the same place."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} is being downloaded by another process")


def _sentence(detail: str, problems: tuple[FieldProblem, ...]) -> str:
    """Return the detail, with the places of all faults that it does not name itself."""
    more = [f"{one.pointer}: {one.detail}" for one in problems if one.detail not in detail]
    return "; ".join([detail, *more])
