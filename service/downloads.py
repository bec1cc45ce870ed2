"""Routes of artifacts: the file itself, and its manifest."""

import base64
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from service.db import reading
from service.errors import Refused
from service.house import House
from service.http import demand_json, matches_etag
from service.models import StoredArtifact, get_artifact

router = APIRouter()
# The content behind an id never changes; it is not for shared caches.
CACHE = "private, max-age=31536000, immutable"
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/artifacts/{artifact_id:id}", response_class=Response, responses=FILE)
async def download_artifact(artifact_id: str, request: Request) -> Response:
    """Download a file."""
    return await _download(artifact_id, request)


@router.head("/artifacts/{artifact_id:id}", response_class=Response)
async def describe_artifact(artifact_id: str, request: Request) -> Response:
    """Read what a download would say of itself."""
    return await _download(artifact_id, request)


@router.get("/artifacts/{artifact_id:id}/manifest", response_model=dict[str, object])
async def read_manifest(artifact_id: str, request: Request) -> Response:
    """Read what is known of a file: task, input, limits, figures, and where it came from."""
    demand_json(request)
    stored = await run_in_threadpool(_find, request.app.state.house, artifact_id)
    return JSONResponse(stored.manifest, headers={"Cache-Control": CACHE})


async def _download(artifact_id: str, request: Request) -> Response:
    house: House = request.app.state.house
    stored = await run_in_threadpool(_find, house, artifact_id)
    headers = _headers(stored)
    if matches_etag(request, headers["ETag"]):
        kept = {name: headers[name] for name in ("ETag", "Cache-Control", "Repr-Digest")}
        return Response(status_code=304, headers=kept)
    # Read for HEAD too: it must not promise a file that is lost.
    content = await run_in_threadpool(house.store.get, stored.artifact.sha256)
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(content))
        return Response(headers=headers, media_type="application/octet-stream")
    return Response(content, headers=headers, media_type="application/octet-stream")


def _headers(stored: StoredArtifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(stored.artifact.sha256)).decode()
    return {
        "ETag": f'"{stored.artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": f'attachment; filename="{stored.id}.{stored.artifact.format}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": CACHE,
    }


def _find(house: House, artifact_id: str) -> StoredArtifact:
    with reading(house.engine) as connection:
        stored = get_artifact(connection, artifact_id)
    if stored is None:
        raise Refused("not-found", "there is no such artifact")
    return stored
