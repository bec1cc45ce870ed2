import pytest
from starlette.requests import Request

from service.accept import chosen_type
from service.errors import Refused

JSON, SVG = "application/json", "image/svg+xml"


def request(*accept: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept", value.encode()) for value in accept]})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], JSON),
        (["*/*"], JSON),
        (["application/*"], JSON),
        ([SVG], SVG),
        (["image/*"], SVG),
        (["IMAGE/SVG+XML"], SVG),
        ([f"{SVG}, {JSON}"], JSON),
        ([f"{SVG}, {JSON};q=0.9"], SVG),
        ([f"{JSON};q=0.5", SVG], SVG),
        ([f"{JSON};q=0, */*"], SVG),
        ([f"text/html, {SVG};q=0.1"], SVG),
        ([f"*/*;q=0.1, {SVG};q=0.2"], SVG),
        ([f"{SVG};charset=utf-8; q=1.000"], SVG),
    ],
)
def test_what_a_client_likes_best_is_made(accept: list[str], expected: str) -> None:
    assert chosen_type(request(*accept), (JSON, SVG)) == expected


@pytest.mark.parametrize(
    "accept", ["text/html", "", f"{SVG};q=0", f"{SVG};q=x", "*/*;q=0.0", "image/png, q=1"]
)
def test_a_client_that_takes_none_of_what_can_be_made_is_told_what_can(accept: str) -> None:
    with pytest.raises(Refused, match=r"application/json or image/svg\+xml") as caught:
        chosen_type(request(accept), (JSON, SVG))
    assert caught.value.code == "not-acceptable"
