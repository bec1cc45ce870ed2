"""Routes of artifacts: the file itself, its manifest, and its signature."""

import base64
from io import FileIO
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from service.auth import Caller, Reader
from service.errors import Refused
from service.house import House
from service.http import demand_json, fails_if_match, json_response, matches_etag
from service.models import StoredArtifact, get_artifact
from service.parameters import header_parameter
from service.ranges import wanted_range
from service.removal import is_gone
from service.schemas import SigningKeyView
from service.sending import FilePart
from service.signing import ALGORITHM, Signer

router = APIRouter()
# The content behind an id never changes; it is not for shared caches.
CACHE = "private, max-age=31536000, immutable"
MEDIA_TYPE = "application/octet-stream"
# By format of the file; all others are bytes that say themselves what they are.
MEDIA_TYPES = {"zip": "application/zip"}


def header(meaning: str) -> dict[str, Any]:
    """Return the description of a header of an answer."""
    return {"description": meaning, "schema": {"type": "string"}}


PROOF = {
    "ETag": header("sha256 of the whole file, hexadecimal, quoted"),
    "Repr-Digest": header("sha256 of the whole file, RFC 9530"),
    "Cache-Control": header("it may be kept for ever, by the client alone"),
}
ABOUT = {
    **PROOF,
    "Accept-Ranges": header("bytes"),
    "Content-Length": header("bytes that follow, or would with GET"),
    "Content-Disposition": header("a file name made of the id and the format"),
    "X-Content-Type-Options": header("nosniff"),
}
PLACE = {"Content-Range": header("which bytes these are, and how many the file has")}
FILE = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in (MEDIA_TYPE, *MEDIA_TYPES.values())
}
CONDITIONS = [
    header_parameter("If-Match", "answer only if one of these tags is the file's"),
    header_parameter("If-None-Match", "answer only if none of these tags is the file's"),
]
RANGE = [
    header_parameter("Range", "one range of bytes; several, or other units, give the whole file"),
    header_parameter(
        "If-Range", "the range counts only if this tag is the file's, else the whole file comes"
    ),
]
SIGNED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "64 bytes: Ed25519 over the bytes of the file",
        "headers": {
            "Key-Id": header("the key that made it, see /signing-key"),
            "Content-Disposition": header("the file's name, with .sig after it"),
            "X-Content-Type-Options": header("nosniff"),
            "Cache-Control": PROOF["Cache-Control"],
        },
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
    410: {"description": "The file was deleted"},
}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "headers": ABOUT},
    304: {"description": "The client has the file", "headers": PROOF},
    410: {"description": "The file was deleted"},
    412: {"description": "The file is another one"},
}
DOWNLOADED: dict[int | str, dict[str, Any]] = {
    **DESCRIBED,
    200: {**DESCRIBED[200], "content": FILE},
    206: {"description": "A part of the file", "headers": {**ABOUT, **PLACE}, "content": FILE},
    416: {
        "description": "The file has none of these bytes",
        "headers": {"Content-Range": header("how many bytes the file has: bytes */N")},
    },
}


@router.get(
    "/artifacts/{artifact_id:id}",
    response_class=Response,
    responses=DOWNLOADED,
    openapi_extra={"parameters": [*CONDITIONS, *RANGE]},
)
async def download_artifact(artifact_id: str, request: Request, caller: Reader) -> Response:
    """Download a file, or a part of it."""
    house: House = request.app.state.house
    stored, headers = await _look_up(caller, artifact_id, request)
    if matches_etag(request, headers["ETag"]):
        return _unchanged(headers)
    size = stored.artifact.bytes
    part = wanted_range(request, headers["ETag"], size)
    file = await _open(house, stored.artifact.sha256)
    if part is None:
        return FilePart(file, range(size), 200, headers, house.metrics.downloaded.inc)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return FilePart(file, part, 206, headers, house.metrics.downloaded.inc)


@router.head(
    "/artifacts/{artifact_id:id}",
    response_class=Response,
    responses=DESCRIBED,
    openapi_extra={"parameters": CONDITIONS},
)
async def describe_artifact(artifact_id: str, request: Request, caller: Reader) -> Response:
    """Read what a download of the whole file would say of itself."""
    house: House = request.app.state.house
    stored, headers = await _look_up(caller, artifact_id, request)
    if matches_etag(request, headers["ETag"]):
        return _unchanged(headers)
    # It must not promise a file that is lost.
    (await _open(house, stored.artifact.sha256)).close()
    headers["Content-Length"] = str(stored.artifact.bytes)
    return Response(headers=headers)


@router.get("/artifacts/{artifact_id:id}/manifest", response_model=dict[str, object])
async def read_manifest(artifact_id: str, request: Request, caller: Reader) -> Response:
    """Read what is known of a file: task, input, limits, figures, and where it came from."""
    demand_json(request)
    house: House = request.app.state.house
    stored = await house.database.read(find_artifact, caller.tenant, artifact_id)
    return JSONResponse(stored.manifest, headers={"Cache-Control": CACHE})


@router.get("/artifacts/{artifact_id:id}/signature", response_class=Response, responses=SIGNED)
async def read_signature(artifact_id: str, request: Request, caller: Reader) -> Response:
    """Read the detached signature of a file: whoever has the public key can tell that it came from here unchanged."""
    house: House = request.app.state.house
    signer = _demand_signer(house)
    stored = await house.database.read(find_artifact, caller.tenant, artifact_id)
    headers = _headers(stored)
    kept = ("X-Content-Type-Options", "Cache-Control")
    return Response(
        await run_in_threadpool(_sign, signer, await _open(house, stored.artifact.sha256)),
        headers={
            **{name: headers[name] for name in kept},
            "Content-Type": MEDIA_TYPE,
            "Content-Disposition": f'attachment; filename="{stored.id}.{stored.artifact.format}.sig"',
            "Key-Id": signer.key_id,
        },
    )


@router.get("/signing-key", response_model=SigningKeyView)
async def read_signing_key(request: Request, caller: Reader) -> Response:
    """Read the public key that signatures are verified with."""
    demand_json(request)
    signer = _demand_signer(request.app.state.house)
    return json_response(
        SigningKeyView(algorithm=ALGORITHM, key_id=signer.key_id, public_key=signer.public_pem)
    )


async def _open(house: House, digest: str) -> FileIO:
    """Return a content as an open file; a store that is silent holds up only those who need files from there."""
    if (file := await run_in_threadpool(house.store.find, digest)) is not None:
        return file
    return await to_thread.run_sync(house.store.open, digest, limiter=house.store_calls)


def _demand_signer(house: House) -> Signer:
    """Return who signs.

    Raises:
        Refused: ``not-found``, nobody does.
    """
    if house.signer is None:
        raise Refused("not-found", "this service signs nothing: its NNF_SIGNING_KEY is not set")
    return house.signer


def _sign(signer: Signer, file: FileIO) -> bytes:
    """Return the signature of a file, which is closed. Raises OSError."""
    with file:
        file.seek(0)
        return signer.sign(file.readall())


async def _look_up(
    caller: Caller, artifact_id: str, request: Request
) -> tuple[StoredArtifact, dict[str, str]]:
    """Return an artifact and the headers that tell of it.

    Raises:
        Refused: there is none, or the client wants another one.
    """
    house: House = request.app.state.house
    stored = await house.database.read(find_artifact, caller.tenant, artifact_id)
    headers = _headers(stored)
    # Before If-None-Match and Range (RFC 9110, section 13.2.2): who joins parts of a file asks for no other's.
    if fails_if_match(request, headers["ETag"]):
        raise Refused("precondition-failed", "the file has another entity tag than those of If-Match")
    return stored, headers


def _unchanged(headers: dict[str, str]) -> Response:
    return Response(status_code=304, headers={name: headers[name] for name in PROOF})


def _headers(stored: StoredArtifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(stored.artifact.sha256)).decode()
    return {
        "ETag": f'"{stored.artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "Content-Type": MEDIA_TYPES.get(stored.artifact.format, MEDIA_TYPE),
        "Content-Disposition": f'attachment; filename="{stored.id}.{stored.artifact.format}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": CACHE,
    }


def find_artifact(connection: Connection, tenant: str, artifact_id: str) -> StoredArtifact:
    """Return a tenant's artifact.

    Raises:
        Refused: ``artifact-expired``, it was deleted; ``not-found``, there was none.
    """
    stored = get_artifact(connection, tenant, artifact_id)
    if stored is None and is_gone(connection, tenant, artifact_id):
        raise Refused("artifact-expired", "the artifact was deleted")
    if stored is None:
        raise Refused("not-found", "there is no such artifact")
    return stored
