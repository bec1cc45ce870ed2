"""From request to result: sending until there is an answer, and reading it as what the contract says it is."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from assembler.errors import FieldProblem
from service.calls.errors import AnswerInvalid, ArgumentInvalid, ClientError, ProblemError, Unreachable
from service.calls.patience import Backoff, may_pass, retry_after_s
from service.calls.steps import Answer, Call, Flow, Item, Pause, Setup, Stream, open_call, read_whole
from service.schemas import (
    ArtifactView,
    DeliveriesView,
    JobsView,
    JobView,
    KeysView,
    ModelsView,
    ModelView,
    ReportsView,
    WebhooksView,
)

T = TypeVar("T")
P = TypeVar("P", DeliveriesView, JobsView, KeysView, ModelsView, ReportsView, WebhooksView)
V = TypeVar("V", bound=BaseModel)
Sent = BaseModel | Mapping[str, Any] | bytes
JSON = "application/json"
MAX_PROBLEM_BYTES = 1_000_000
PASSING = frozenset({429, 502, 503, 504})
_OBJECT = TypeAdapter(dict[str, Any])


def request(method: str, *path: str, params: Mapping[str, Any] | None = None, **more: Any) -> Call:
    """Return a request.

    Args:
        method: of HTTP.
        path: its pieces, in clear.
        params: of the query; those that are None are left out, lists are given one by one.
        more: further members of the Call.

    Raises:
        ArgumentInvalid: a piece of the path cannot be one.
    """
    for piece in path:
        if piece in ("", ".", ".."):
            raise ArgumentInvalid("an id or a name must not be empty")
    pairs = [(name, value) for name, values in (params or {}).items() for value in _texts(values)]
    return Call(method, "/" + "/".join(quote(piece, safe="") for piece in path), pairs, **more)


def posted(*path: str, body: Sent, headers: Mapping[str, str] | None = None, **more: Any) -> Call:
    """Return a request that sends JSON."""
    content = to_bytes(body)
    return request("POST", *path, content=content, headers={"Content-Type": JSON, **(headers or {})}, **more)


def to_bytes(body: Sent | Iterable[Any]) -> bytes:
    """Return JSON; bytes are taken to be some already.

    Raises:
        ArgumentInvalid: it cannot be written as JSON.
    """
    if isinstance(body, bytes):
        return body
    try:
        return json.dumps(_plain(body), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ArgumentInvalid(f"this cannot be sent as JSON: {error}") from error


def fetch(setup: Setup, call: Call, *, within_s: float | None = None) -> Flow[Answer]:
    """Send a request, and again where that may help, until it is answered.

    Args:
        setup: of the client.
        call: the request.
        within_s: a shorter time than the client's patience.

    Raises:
        Unreachable: it was not answered in time.
        ProblemError: it was answered with a problem.
        AnswerInvalid: the answer is too large.
    """
    doubtful = False

    def ask() -> Flow[Answer]:
        nonlocal doubtful
        try:
            response = yield from begin(setup, call)
            content = yield from read_whole(setup)
        except Unreachable:
            doubtful = True
            raise
        except ProblemError as failure:
            # The first try had arrived, only its answer was lost.
            if doubtful and call.method == "DELETE" and failure.status == 404:
                return Answer(204, httpx.Headers(), b"")
            raise
        return Answer(response.status_code, response.headers, content)

    return (yield from persist(setup, ask, repeatable=call.repeatable, within_s=within_s))


def listed(
    setup: Setup,
    kind: type[P],
    members: Callable[[P], Iterable[T]],
    *path: str,
    page_size: int,
    params: Mapping[str, Any] | None = None,
) -> Stream[T]:
    """Yield the members of a list that is answered page by page.

    Args:
        setup: of the client.
        kind: of a page.
        members: of a page.
        path: of the list, its pieces.
        page_size: so many are asked for at once.
        params: of the query, beside those of the page.
    """
    token: str | None = None
    while True:
        call = request("GET", *path, params={**(params or {}), "page_size": page_size, "page_token": token})
        page = parsed(kind, (yield from fetch(setup, call)))
        for member in members(page):
            yield Item(member)
        if (token := following(page.next_page_token, token)) is None:
            return


def persist(
    setup: Setup, ask: Callable[[], Flow[T]], *, repeatable: bool = True, within_s: float | None = None
) -> Flow[T]:
    """Run an operation, and again where that may help, until it succeeds or there is no time left."""
    backoff = Backoff(setup.patience, within_s)
    while True:
        try:
            return (yield from ask())
        except (Unreachable, ProblemError) as failure:
            if not may_pass(failure, repeatable=repeatable):
                raise
            pause_s = backoff.pause_s(failure)
        yield Pause(pause_s)


def begin(setup: Setup, call: Call) -> Flow[httpx.Response]:
    """Send a request once and return the head of its response.

    Raises:
        Unreachable: there was none.
        ProblemError: it is a problem.
    """
    response = yield from open_call(setup, call)
    if 200 <= response.status_code < 300:
        return response
    try:
        content = yield from read_whole(setup, MAX_PROBLEM_BYTES)
    except ClientError:
        content = b""
    raise problem_of(response.status_code, response.headers, content)


def problem_of(status: int, headers: Mapping[str, str], content: bytes) -> ProblemError:
    """Return the problem that an answer tells of."""
    after_s = retry_after_s(headers.get("Retry-After"))
    try:
        body = _OBJECT.validate_json(content)
        return ProblemError(
            str(body["code"]),
            status,
            str(body["detail"]),
            title=str(body.get("title", "")),
            problems=tuple(
                FieldProblem(str(one["pointer"]), str(one["code"]), str(one["detail"]))
                for one in body.get("errors", ())
            ),
            request_id=body.get("request_id"),
            retryable=bool(body.get("retryable", status in PASSING)),
            retry_after_s=after_s,
            body=body,
        )
    except (ValidationError, LookupError, TypeError):
        detail = f"it was answered with status {status}, and not by NN-Factory"
        return ProblemError(
            f"http-{status}", status, detail, retryable=status in PASSING, retry_after_s=after_s
        )


def parsed(view: type[V], answer: Answer) -> V:
    """Return the value that an answer holds; fields that are not known yet are kept beside those that are.

    Raises:
        AnswerInvalid: it is another one.
    """
    try:
        return view.model_validate_json(answer.content, extra="allow")
    except ValidationError as error:
        raise _unexpected(error) from error


def parsed_object(answer: Answer) -> dict[str, Any]:
    """Return the JSON object that an answer holds.

    Raises:
        AnswerInvalid: it holds none.
    """
    try:
        return _OBJECT.validate_json(answer.content)
    except ValidationError as error:
        raise _unexpected(error) from error


def following(token: str | None, before: str | None) -> str | None:
    """Return the token of the next page, None where there is none.

    Raises:
        AnswerInvalid: it is the one of this page.
    """
    if token is not None and token == before:
        raise AnswerInvalid("a page names itself as the next one")
    return token


def id_of(value: JobView | ModelView | ArtifactView | str) -> str:
    """Return the id of what may be given by itself or by its id."""
    return value if isinstance(value, str) else value.id


def exact(value: Any) -> Any:
    """Return the JSON of a value as it was answered, with the fields that this client does not know."""
    if isinstance(value, BaseModel):
        known = {name: exact(getattr(value, name)) for name in type(value).model_fields}
        return {**known, **(value.__pydantic_extra__ or {})}
    if isinstance(value, Mapping):
        return {str(name): exact(one) for name, one in value.items()}
    return [exact(one) for one in value] if isinstance(value, list | tuple) else value


def _unexpected(error: ValidationError) -> AnswerInvalid:
    first = error.errors(include_url=False, include_input=False)[0]
    place = "/".join(str(piece) for piece in first["loc"])
    return AnswerInvalid(f"the answer is not what NN-Factory answers: {place or 'it'}: {first['msg']}")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _texts(values: Any) -> list[str]:
    found = values if isinstance(values, list | tuple) else [values]
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in found if one is not None]
