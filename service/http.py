"""The small print of HTTP: reading bodies and headers strictly, and answering in JSON."""

import base64
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from pydantic import BaseModel
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from assembler.device import DEVICE_NAME
from assembler.errors import FieldProblem
from assembler.scenario import MAX_LABELS, did_you_mean
from assembler.strict import unsafe_strings
from service.accept import chosen_type
from service.errors import Refused
from service.ids import FORM, is_id

JSON, PROBLEM = "application/json", "application/problem+json"
MAX_WAIT_S = 30.0
DRAIN_FACTOR = 16
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?")
_KEY = re.compile(r"[!-~]{1,255}")
_SEPARATOR = re.compile("[:=]")
# Databases do not agree on how a key that holds them is found in a document.
_UNFIT = re.compile(r'["\\]')
_UTC = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|\+00:00)", re.ASCII)


class HasId(Protocol):
    """What is listed page by page."""

    @property
    def id(self) -> str:
        """By which it is sorted."""


T = TypeVar("T", bound=HasId)


class IdConvertor(StringConvertor):
    """An id as part of an address: ``{job_id:id}``. What has another form is another address."""

    regex = FORM


register_url_convertor("id", IdConvertor())


async def read_body(request: Request, limit: int, kinds: Collection[str] = (JSON,)) -> bytes:
    """Return the body of a request that claims to be JSON.

    Args:
        request: not read yet.
        limit: bytes, whether announced or sent in chunks.
        kinds: media types that are taken.

    Raises:
        Refused: another media type or encoding, or a body over the limit.
    """
    _check_media_type(request, kinds)
    chunks: list[bytes] = []
    size = 0
    # A little more is read and thrown away: a client that is still sending could not read the answer.
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit * DRAIN_FACTOR:
            break
        if size <= limit:
            chunks.append(chunk)
    if size > limit:
        raise Refused(
            "body-too-large", f"the body is larger than {limit} bytes", headers={"Connection": "close"}
        )
    return b"".join(chunks)


def demand_json(request: Request) -> None:
    """Check that the client takes JSON.

    Raises:
        Refused: the header Accept leaves JSON out.
    """
    if request.headers.get("accept", "*/*") != "*/*":
        chosen_type(request, (JSON, PROBLEM))


def preferred_wait_s(request: Request) -> float | None:
    """Return the seconds of ``Prefer: wait=N``, at most 30, or None when the client does not say.

    Raises:
        Refused: N is not a number of seconds.
    """
    for part in re.split(r"[,;]", ",".join(request.headers.getlist("prefer"))):
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "wait":
            seconds = _seconds(value.strip().strip('"'))
            if seconds is None:
                raise Refused("bad-header", "Prefer: wait must give a number of seconds, not below 0")
            return seconds
    return None


def idempotency_key(request: Request) -> str | None:
    """Return the ``Idempotency-Key`` of a request, with or without quotes, None where there is none.

    Raises:
        Refused: it is empty, longer than 255 characters, or has others than visible ASCII ones.
    """
    texts = request.headers.getlist("idempotency-key")
    if not texts:
        return None
    key = texts[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(texts) > 1 or not _KEY.fullmatch(key):
        raise Refused("bad-header", "Idempotency-Key must be one text of 1 to 255 visible ASCII characters")
    return key


def last_event_id(request: Request) -> int:
    """Return the id that a stream goes on after, 0 for its begin.

    Raises:
        Refused: ``Last-Event-ID`` is not the id of an event.
    """
    text = request.headers.get("last-event-id", "0")
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Refused("bad-header", "Last-Event-ID must be the id of an event of this stream")
    return int(text)


def demand_known_query(request: Request) -> None:
    """Check that the route describes every parameter of the query, and how often it is given.

    Raises:
        Refused: a parameter is unknown: to leave a misspelt filter out would answer with everything; or it is given
            twice and is not a list.
    """
    if not request.scope["query_string"]:
        return
    described = (request.scope["route"].openapi_extra or {}).get("parameters", ())
    known = {one["name"]: one["schema"] for one in described if one["in"] == "query"}
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            # Only names that are known are ever told.
            detail = f"a parameter of the query is unknown{did_you_mean(name, sorted(known))}"
            raise Refused("bad-query", detail, (FieldProblem("", "bad-query", detail),))
        if count > 1 and known[name]["type"] != "array":
            raise _bad_query(name, "must be given once")


def query_wait_s(request: Request) -> float:
    """Return the seconds of ``?wait=``, at most 30, 0 when it is not given.

    Raises:
        Refused: not a number of seconds.
    """
    seconds = _seconds(request.query_params.get("wait", "0"))
    if seconds is None:
        raise _bad_query("wait", "must be a number of seconds, not below 0")
    return seconds


def query_page_size(request: Request, *, default: int = 50, most: int = 200) -> int:
    """Return ``?page_size=``.

    Raises:
        Refused: not a whole number from 1 to ``most``.
    """
    text = request.query_params.get("page_size", str(default))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= most:
        raise _bad_query("page_size", f"must be a whole number, 1 to {most}")
    return int(text)


def query_choice(request: Request, name: str, choices: Collection[str]) -> str | None:
    """Return the choice a parameter names, None when it is not given.

    Raises:
        Refused: it is none of the choices.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in choices:
        raise _bad_query(name, f"must be one of: {', '.join(choices)}")
    return text


def query_device(request: Request) -> str | None:
    """Return the name of ``?device=``, None when it is not given.

    Raises:
        Refused: no device can have this name.
    """
    text = request.query_params.get("device")
    if text is not None and not DEVICE_NAME.fullmatch(text):
        raise _bad_query("device", "must be the name of a device")
    return text


def query_id(request: Request, name: str, prefix: str) -> str | None:
    """Return the id that a parameter gives, None when it is not given.

    Raises:
        Refused: it has not the form of an id of this type.
    """
    text = request.query_params.get(name)
    if text is not None and not is_id(text, prefix):
        raise _bad_query(name, f"must be an id that begins with {prefix}_")
    return text


def query_labels(request: Request) -> tuple[tuple[str, str | None], ...]:
    """Return key and value of every ``?label=``, written ``key:value`` or ``key=value``, or ``key`` for any value.

    Raises:
        Refused: there is no key, a text that no label can hold, or more labels than a scenario has.
    """
    texts = request.query_params.getlist("label")
    if len(texts) > MAX_LABELS:
        raise _bad_query("label", f"must be given at most {MAX_LABELS} times")
    return tuple(_label(text) for text in texts)


def query_time_s(request: Request, name: str) -> float | None:
    """Return the time a parameter gives, in s since 1970 UTC, None when it is not given.

    Raises:
        Refused: not a time of RFC 3339 in UTC.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    found = utc_seconds(text)
    if found is None:
        raise _bad_query(name, "must be a time in UTC such as 2026-01-31T12:00:00Z")
    return found


def utc_seconds(text: str) -> float | None:
    """Return the s since 1970 of a time of RFC 3339 in UTC, None where it is none."""
    try:
        return datetime.fromisoformat(text.upper()).timestamp() if _UTC.fullmatch(text) else None
    except ValueError:
        return None


def query_page_token(request: Request, prefix: str) -> str | None:
    """Return the id after which the page begins, None for the first page.

    Raises:
        Refused: the token was not made by ``page_token``.
    """
    text = request.query_params.get("page_token")
    if text is None:
        return None
    try:
        found = base64.urlsafe_b64decode(text.encode()).decode()
    except ValueError:
        found = ""
    if not is_id(found, prefix):
        raise Refused("bad-page-token", "this page_token was not issued here")
    return found


def cut(found: Sequence[T], size: int) -> tuple[Sequence[T], str | None]:
    """Return a page of what was found, and the token of the next one where more was found than fits."""
    page = found[:size]
    return page, page_token(page[-1].id) if len(found) > size else None


def page_token(last_id: str) -> str:
    """Return the token of the page after the object of this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()


def json_response(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def matches_etag(request: Request, etag: str) -> bool:
    """Return whether ``If-None-Match`` holds this entity tag, compared weakly as RFC 9110 wants it."""
    given = _tags(request, "if-none-match")
    return given == ["*"] or etag in [tag.removeprefix("W/") for tag in given]


def fails_if_match(request: Request, etag: str) -> bool:
    """Return whether there is an ``If-Match`` without this entity tag, compared strongly as RFC 9110 wants it."""
    given = _tags(request, "if-match")
    return "if-match" in request.headers and given != ["*"] and etag not in given


def _tags(request: Request, name: str) -> list[str]:
    return [part.strip() for part in ",".join(request.headers.getlist(name)).split(",")]


def media_type(request: Request) -> str:
    """Return the media type of a request's body; JSON is what it is where nothing is said."""
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower()


def _check_media_type(request: Request, kinds: Collection[str]) -> None:
    headers = request.headers
    charset = headers.get("content-type", "").partition(";")[2].strip().lower().replace('"', "")
    if media_type(request) not in kinds or charset not in ("", "charset=utf-8", "charset=utf8"):
        raise Refused("unsupported-media-type", f"the body must be {' or '.join(kinds)} in UTF-8")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused("unsupported-media-type", "the body must not be compressed")


def _seconds(text: str) -> float | None:
    return min(float(text), MAX_WAIT_S) if _NUMBER.fullmatch(text) else None


def _label(text: str) -> tuple[str, str | None]:
    key, *values = _SEPARATOR.split(text, maxsplit=1)
    if not key or _UNFIT.search(key) or unsafe_strings(text):
        detail = (
            "must be key:value, or key alone, without control characters, quotes or backslashes in the key"
        )
        raise _bad_query("label", detail)
    return key, values[0] if values else None


def _bad_query(name: str, detail: str) -> Refused:
    return Refused("bad-query", f"{name} {detail}", (FieldProblem(f"/{name}", "bad-query", detail),))
