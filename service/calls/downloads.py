"""Downloading: a file arrives whole and as it was made, however often the connection breaks, or not at all."""

import base64
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.calls import signatures
from service.calls.answers import (
    Sent,
    begin,
    fetch,
    id_of,
    listed,
    parsed,
    parsed_object,
    persist,
    posted,
    request,
)
from service.calls.errors import (
    AnswerInvalid,
    ArgumentInvalid,
    DigestMismatch,
    DownloadError,
    ProblemError,
    SignatureInvalid,
    Unreachable,
)
from service.calls.jobs import PAGE_SIZE
from service.calls.parts import Part, holds
from service.calls.patience import Backoff, may_pass
from service.calls.steps import Close, Flow, Pause, Setup, Stream, Work, read_some
from service.schemas import ArtifactView, ReportsView, ReportView, SigningKeyView

# Called with the bytes that are here, and all there are.
Progress = Callable[[int, int], None]
_TAG = re.compile(r'"([0-9a-f]{64})"')
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_DIGEST = re.compile(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):")
# Compressed on the way, bytes would not be those of the range.
PLAIN = {"Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The file that is to come."""

    id: str
    sha256: str
    size: int


def download(
    setup: Setup,
    artifact: ArtifactView | str,
    path: Path | str,
    *,
    progress: Progress | None = None,
    public_key: str | None = None,
) -> Flow[Path]:
    """Download a file and return its place; one that is there already is not downloaded again.

    It is written to ``<path>.<digest>.part`` and moved once its digest is right. What an earlier call left there is
    gone on with.

    Args:
        setup: of the client.
        artifact: itself, or its id.
        path: file to write; it is replaced.
        progress: is called with the bytes that are here, and all there are.
        public_key: PEM of an Ed25519 key; what is not signed with it is refused. It comes by another way than the
            file: the service's own word for it proves nothing.

    Raises:
        ArgumentInvalid: the path is a folder or in none, or the key cannot be used.
        SignatureInvalid: the file is not signed with the key.
        DigestMismatch: what came is not the file.
        DownloadBusy: it is being downloaded to this place already.
        DownloadError: it has more bytes than it should.
        Unreachable: it broke off, and nothing more came for as long as the client is patient.
        OSError: the file cannot be written.
    """
    path = writable(path)
    demand = None if public_key is None else signatures.read_key(public_key)
    wanted = yield from _wanted(setup, artifact)
    signed = None if demand is None else (yield from signature(setup, wanted.id))
    if (yield Work(lambda: holds(path, wanted.sha256, wanted.size))):
        if demand is not None and signed is not None:
            yield Work(lambda: signatures.check(demand, signed, path, wanted.id))
        return path
    part = Part(path, wanted.sha256)
    try:
        yield Work(lambda: part.open(wanted.size))
        yield from _complete(setup, wanted, part, progress)
        if demand is not None and signed is not None:
            yield Work(lambda: _check_signed(demand, signed, part, wanted))
        yield Work(part.finish)
    finally:
        part.close()
    return path


def manifest(setup: Setup, artifact: ArtifactView | str) -> Flow[dict[str, Any]]:
    """Return what is known of a file."""
    call = request("GET", "artifacts", id_of(artifact), "manifest")
    return parsed_object((yield from fetch(setup, call)))


def signature(setup: Setup, artifact: ArtifactView | str) -> Flow[bytes]:
    """Return the detached signature of a file, 64 bytes."""
    call = request("GET", "artifacts", id_of(artifact), "signature", headers={"Accept": "*/*"})
    return (yield from fetch(setup, call)).content


def signing_key(setup: Setup) -> Flow[SigningKeyView]:
    """Return the public key that the service's signatures are verified with."""
    return parsed(SigningKeyView, (yield from fetch(setup, request("GET", "signing-key"))))


def report(setup: Setup, artifact: ArtifactView | str, figures: Sent) -> Flow[ReportView]:
    """Tell what a device measured of a model, and return what is kept of it.

    Args:
        setup: of the client.
        artifact: the model's file.
        figures: ``latency_ms``, ``memory_mb``, ``accuracy`` or some of them, and how they were measured.
    """
    call = posted("artifacts", id_of(artifact), "reports", body=figures, repeatable=False)
    return parsed(ReportView, (yield from fetch(setup, call)))


def list_reports(
    setup: Setup, artifact: ArtifactView | str, *, page_size: int = PAGE_SIZE
) -> Stream[ReportView]:
    """Yield what devices measured of a model, newest first."""
    path = ("artifacts", id_of(artifact), "reports")
    return listed(setup, ReportsView, lambda page: page.reports, *path, page_size=page_size)


def writable(path: Path | str) -> Path:
    """Return the path of a file that can be written, looked at before anything is asked for.

    Raises:
        ArgumentInvalid: it is a folder, or not in one that files can be written to.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise ArgumentInvalid(f"{path} is a folder; a download needs the name of a file")
    if not path.parent.is_dir():
        raise ArgumentInvalid(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise ArgumentInvalid(f"{path} cannot be written: the folder takes no files")
    return path


def _wanted(setup: Setup, artifact: ArtifactView | str) -> Flow[Wanted]:
    """Return the digest and size of a file, asking for its first byte where only its id is known."""
    if isinstance(artifact, ArtifactView):
        return Wanted(artifact.id, artifact.sha256, artifact.bytes)

    def ask() -> Flow[httpx.Response]:
        call = request("GET", "artifacts", artifact, headers={**PLAIN, "Range": "bytes=0-0"})
        response = yield from begin(setup, call)
        yield Close()
        return response

    headers = (yield from persist(setup, ask)).headers
    tag, place = _TAG.fullmatch(headers.get("ETag", "")), _RANGE.fullmatch(headers.get("Content-Range", ""))
    size = place[3] if place else headers.get("Content-Length", "")
    if tag is None or not re.fullmatch(r"\d{1,18}", size):
        raise AnswerInvalid("the answer does not tell the digest and the size of the file")
    return Wanted(artifact, tag[1], int(size))


def _complete(setup: Setup, wanted: Wanted, part: Part, progress: Progress | None) -> Flow[None]:
    """Receive what is missing, and make sure that the whole is right."""
    backoff = Backoff(setup.patience)
    anew = False
    while True:
        had = part.size
        try:
            if part.size < wanted.size:
                yield from _receive(setup, wanted, part, progress)
        except (Unreachable, ProblemError) as failure:
            if isinstance(failure, ProblemError) and failure.status == 416 and had:
                part.clear()
            elif not may_pass(failure, repeatable=True):
                raise
            if part.size > had:
                backoff.start()
            yield Pause(backoff.pause_s(failure))
            continue
        if part.sha256() == wanted.sha256:
            return
        found = part.sha256()
        if not part.joined or anew:
            part.discard()
            raise DigestMismatch(wanted.id, wanted.sha256, found)
        # One of its pieces may be wrong: once, the whole is asked for.
        part.clear()
        anew = True


def _check_signed(key: "signatures.Key", signed: bytes, part: Part, wanted: Wanted) -> None:
    """See that a file that is here is signed; else it goes."""
    try:
        signatures.check(key, signed, part.written(), wanted.id)
    except SignatureInvalid:
        part.discard()
        raise


def _receive(setup: Setup, wanted: Wanted, part: Part, progress: Progress | None) -> Flow[None]:
    """Add what one answer brings.

    Raises:
        Unreachable: it brought less than is missing.
        DownloadError: it brought more.
        DigestMismatch: it is another file.
    """
    headers = PLAIN
    if part.size:
        headers = {**PLAIN, "Range": f"bytes={part.size}-", "If-Range": f'"{wanted.sha256}"'}
    response = yield from begin(setup, request("GET", "artifacts", wanted.id, headers=headers))
    _check(response, wanted, part)
    if not _goes_on(setup, response, wanted, part):
        part.clear()
    part.joined |= part.size > 0
    while (chunk := (yield from read_some(setup))) is not None:
        if part.size + len(chunk) > wanted.size:
            part.discard()
            raise DownloadError(f"{wanted.id} has more than its {wanted.size} bytes")
        part.append(chunk)
        if progress is not None:
            progress(part.size, wanted.size)
    if part.size < wanted.size:
        raise Unreachable(setup.url, f"{wanted.id} ended after {part.size} of {wanted.size} bytes")


def _check(response: httpx.Response, wanted: Wanted, part: Part) -> None:
    """See that the file is the one that is wanted, where its headers tell."""
    tag = _TAG.fullmatch(response.headers.get("ETag", ""))
    digest = _DIGEST.search(response.headers.get("Repr-Digest", ""))
    told = [tag[1]] if tag else []
    told += [base64.b64decode(digest[1]).hex()] if digest else []
    for found in told:
        if found != wanted.sha256:
            part.discard()
            raise DigestMismatch(wanted.id, wanted.sha256, found)


def _goes_on(setup: Setup, response: httpx.Response, wanted: Wanted, part: Part) -> bool:
    """Return whether an answer begins where the part ends; else it is the whole file.

    Raises:
        Unreachable: it is another part than was asked for; the whole file is asked for next.
        AnswerInvalid: it is no whole file, though that was asked for.
    """
    if response.status_code == 200:
        return False
    place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if part.size == 0:
        raise AnswerInvalid(f"the answer of status {response.status_code} is not {wanted.id}")
    if response.status_code == 206 and place is not None:
        start, end, size = (int(text) for text in place.groups())
        if (start, end + 1, size) == (part.size, wanted.size, wanted.size):
            return True
    part.clear()
    raise Unreachable(setup.url, f"it is not the part of {wanted.id} that was asked for")
