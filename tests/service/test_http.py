import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from service.errors import Refused
from service.http import (
    demand_json,
    fails_if_match,
    matches_etag,
    page_token,
    preferred_wait_s,
    query_page_size,
    query_page_token,
    query_wait_s,
    read_body,
)
from service.ids import new_id


def request(
    headers: Sequence[tuple[str, str]] = (), query: str = "", chunks: Sequence[bytes] = (b"",)
) -> Request:
    left = list(chunks)

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    return Request(scope, receive)


def code_of(error: pytest.ExceptionInfo[Refused]) -> str:
    return error.value.code


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_json_bodies_are_read_whole(kind: str) -> None:
    given = request([("content-type", kind)], chunks=[b"{", b"}"])
    assert asyncio.run(read_body(given, 10)) == b"{}"


def test_a_body_without_a_type_is_taken_for_json() -> None:
    assert asyncio.run(read_body(request(chunks=[b"{}"]), 10)) == b"{}"


@pytest.mark.parametrize(
    "header",
    [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json; charset=latin-1"),
        ("content-encoding", "gzip"),
    ],
)
def test_other_media_types_are_refused(header: tuple[str, str]) -> None:
    with pytest.raises(Refused) as caught:
        asyncio.run(read_body(request([header], chunks=[b"{}"]), 10))
    assert code_of(caught) == "unsupported-media-type"


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 10, b"x"], [b"x"] * 11, [b"x" * 10] * 100])
def test_a_body_over_the_limit_is_refused_also_in_chunks(chunks: list[bytes]) -> None:
    with pytest.raises(Refused) as caught:
        asyncio.run(read_body(request(chunks=chunks), 10))
    assert code_of(caught) == "body-too-large"


def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert asyncio.run(read_body(request(chunks=[b"x" * 5, b"x" * 5]), 10)) == b"x" * 10


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/json",
        "text/html, application/*;q=0.1",
        "application/json;q=0.001",
        "APPLICATION/JSON",
    ],
)
def test_clients_that_take_json_are_served(accept: str) -> None:
    demand_json(request([("accept", accept)]))


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "image/png, text/*", "application/json; q=0.0"]
)
def test_clients_that_do_not_take_json_are_refused(accept: str) -> None:
    with pytest.raises(Refused) as caught:
        demand_json(request([("accept", accept)]))
    assert code_of(caught) == "not-acceptable"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10.0),
        ("respond-async, wait=5", 5.0),
        ("Wait = 2", 2.0),
        ('wait="3"', 3.0),
        ("wait=0", 0.0),
        ("wait=999", 30.0),
        ("handling=strict", None),
    ],
)
def test_the_preferred_wait_is_read(prefer: str, seconds: float | None) -> None:
    assert preferred_wait_s(request([("prefer", prefer)])) == seconds


@pytest.mark.parametrize("prefer", ["wait=", "wait", "wait=abc", "wait=-1", "wait=1e3", "wait=nan"])
def test_a_preferred_wait_that_is_no_number_of_seconds_is_refused(prefer: str) -> None:
    with pytest.raises(Refused) as caught:
        preferred_wait_s(request([("prefer", prefer)]))
    assert code_of(caught) == "bad-header"


@pytest.mark.parametrize("query", ["wait=x", "wait=-1", "wait=", "wait=inf"])
def test_a_queried_wait_that_is_no_number_of_seconds_is_refused(query: str) -> None:
    with pytest.raises(Refused) as caught:
        query_wait_s(request(query=query))
    assert code_of(caught) == "bad-query"


def test_a_queried_wait_is_read_and_bounded() -> None:
    assert [query_wait_s(request(query=q)) for q in ("", "wait=2.5", "wait=60")] == [0.0, 2.5, 30.0]


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=201", "page_size=-5", "page_size=x", "page_size=1.5"]
)
def test_a_page_size_out_of_range_is_refused(query: str) -> None:
    with pytest.raises(Refused) as caught:
        query_page_size(request(query=query))
    assert code_of(caught) == "bad-query"


def test_page_tokens_lead_to_where_they_were_made() -> None:
    last = new_id("job")
    assert query_page_token(request(query=f"page_token={page_token(last)}"), "job") == last
    assert query_page_token(request(), "job") is None


@pytest.mark.parametrize("token", ["", "x", "am9iXzE=", "%00", "🎃", page_token("mdl_" + "0" * 32)])
def test_other_page_tokens_are_refused(token: str) -> None:
    with pytest.raises(Refused) as caught:
        query_page_token(request(query=f"page_token={token}"), "job")
    assert code_of(caught) == "bad-page-token"


def test_entity_tags_are_compared_weakly() -> None:
    assert matches_etag(request([("if-none-match", 'W/"a", "b"')]), '"a"')
    assert matches_etag(request([("if-none-match", "*")]), '"a"')
    assert not matches_etag(request([("if-none-match", '"b"')]), '"a"')
    assert not matches_etag(request([("if-none-match", '"x, *, y"')]), '"a"')
    assert not matches_etag(request(), '"a"')


def test_a_tag_that_must_match_is_compared_strongly() -> None:
    for fits in ('"a"', '"b", "a"', "*", " * "):
        assert not fails_if_match(request([("if-match", fits)]), '"a"')
    for other in ('"b"', 'W/"a"', "a", "", '"x, *, y"'):
        assert fails_if_match(request([("if-match", other)]), '"a"')
    assert not fails_if_match(request([("if-match", '"b"'), ("if-match", '"a"')]), '"a"')
    assert not fails_if_match(request(), '"a"')
