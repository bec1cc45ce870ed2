import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Refused
from service.ranges import wanted_range
from tests.service.test_http import request

ETAG = '"abc"'
CONTENT = bytes(range(256)) * 4


def asked(*ranges: str, size: int = 10, **more: str) -> range | None:
    headers = [("range", one) for one in ranges]
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    return wanted_range(request(headers), ETAG, size)


# A position, or a number that is far beyond every file.
numbers = st.one_of(st.integers(0, 40), st.integers(0, 10**40))


@given(numbers, st.none() | numbers, st.integers(0, 30))
def test_a_range_is_the_bytes_from_its_first_to_its_last_that_the_file_has(
    first: int, last: int | None, size: int
) -> None:
    text = f"bytes={first}-{'' if last is None else last}"
    if last is not None and last < first:
        assert asked(text, size=size) is None
        return
    wanted = [at for at in range(size) if first <= at and (last is None or at <= last)]
    if wanted:
        assert list(asked(text, size=size) or ()) == wanted
    else:
        refused(text, size)


@given(numbers, st.integers(0, 30))
def test_a_suffix_is_the_last_bytes_of_the_file(count: int, size: int) -> None:
    text = f"bytes=-{count}"
    if count == 0:
        refused(text, size)
    elif size == 0:
        assert asked(text, size=0) is None  # no range can name the bytes of an empty file
    else:
        assert list(asked(text, size=size) or ()) == list(range(size))[-count:]


def refused(text: str, size: int) -> None:
    with pytest.raises(Refused) as caught:
        asked(text, size=size)
    assert caught.value.code == "range-not-satisfiable"
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}


@given(st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_the_pieces_of_a_resumed_download_are_the_whole(breaks: list[int]) -> None:
    received = b""
    for stop in sorted(breaks):
        if stop > len(received):
            part = asked(f"bytes={len(received)}-{stop - 1}", size=len(CONTENT))
            assert part is not None
            received += CONTENT[part.start : part.stop]
    if len(received) < len(CONTENT):
        part = asked(f"bytes={len(received)}-", size=len(CONTENT))
        assert part is not None
        received += CONTENT[part.start : part.stop]
    assert received == CONTENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=1-0x2",
        "bytes=0 - 4",
        "bytes =0-4",
        "bytes=٣-٤",
        "bytes=4-3",
        "bytes=0-1,4-5",
        "bytes=0-1,junk",
        "bytes=90-91,92-93",
        "items=0-4",
        "seconds=1-2",
        "0-4",
        "bytes=0-4\n",
    ],
)
def test_several_ranges_other_units_and_what_is_no_range_are_left_aside(text: str) -> None:
    assert asked(text) is None


@given(st.text(st.characters(max_codepoint=255), max_size=12))
def test_whatever_is_sent_is_a_range_inside_the_file_or_none_or_refused(text: str) -> None:
    try:
        part = asked(f"bytes={text}")
    except Refused:
        return
    assert part is None or (0 <= part.start < part.stop <= 10 and part.step == 1)


def test_units_have_no_case_and_without_a_range_the_whole_is_wanted() -> None:
    assert asked("BYTES=2-3") == range(2, 4)
    assert asked() is None
    assert asked(if_range=ETAG) is None


def test_ranges_in_two_lines_are_several() -> None:
    assert asked("bytes=0-1", "bytes=4-5") is None


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (ETAG, True),
        ('"other"', False),
        ('W/"abc"', False),
        ("abc", False),
        ("*", False),
        ("", False),
        (f'{ETAG}, "other"', False),
        ("Sat, 29 Oct 1994 19:43:31 GMT", False),
        ("Fri, 31 Dec 9999 23:59:59 GMT", False),
    ],
)
def test_a_range_counts_only_for_the_file_that_the_client_has_a_part_of(value: str, counts: bool) -> None:
    assert asked("bytes=2-3", if_range=value) == (range(2, 4) if counts else None)
    if not counts:
        assert asked("bytes=90-", if_range=value) is None
