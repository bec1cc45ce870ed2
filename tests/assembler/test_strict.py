import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.errors import MalformedJson
from assembler.strict import MAX_DEPTH, parse_json, pointer, unsafe_strings

plain = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=8)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain, inner, max_size=4),
    max_leaves=20,
)


@given(documents)
def test_every_ordinary_document_is_read_as_the_standard_parser_reads_it(document: Any) -> None:
    raw = json.dumps(document, ensure_ascii=False).encode()
    assert parse_json(raw) == json.loads(raw)
    assert unsafe_strings(parse_json(raw)) == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_either_read_or_refused_as_malformed(raw: bytes) -> None:
    with contextlib.suppress(MalformedJson):
        parse_json(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"\xff\xfe",
        b'{"a": "\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'"\x00"',
        b'"unfinished',
        b'"unfinished\\',
    ],
)
def test_what_is_not_strict_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json(raw)


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b'{"a": 1, "a": 1}', "/a"),
        (b'{"limits": {"size_mb": 1, "latency_ms": 1, "latency_ms": 2}}', "/limits/latency_ms"),
        (b'[0, {"a": {"b": 1, "\\u0062": 2}}]', "/1/a/b"),
        (b'{"<script>": 1, "<script>": 2}', ""),
        (b'{"limits": {"size_mb": 1, "latency_ms": NaN}}', "/limits/latency_ms"),
        (b'{"name": "NaN", "a": [1, -Infinity], "b": Infinity}', "/a/1"),
        (b'{"a": NaN, "a": 1}', "/a"),
        (b'{"a": {"b": 1, "b": NaN}, "a": 1}', "/a"),
        (b'{"<script>": NaN}', ""),
        (b"NaN", ""),
        (b'{"a": NaN', None),
    ],
)
def test_a_key_that_stands_twice_or_a_number_that_json_lacks_is_malformed_and_named_by_its_pointer(
    raw: bytes, where: str | None
) -> None:
    with pytest.raises(MalformedJson) as caught:
        parse_json(raw)
    assert caught.value.pointer == where


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b'{"task": {"classes": ["a", "b\x00"]}}', "/task/classes/1"),
        (b'{"name": "two\nlines", "labels": {"a": "\t"}}', "/name"),
        (b'{"labels": {"a\x1f": 1}}', "/labels"),
        (b'{"a": {"b": "\x00"}, "a": 1}', None),
        (b'"\x00"', ""),
        (b'{"a": "\x00", }', None),
        (b'{"a": \x00}', None),
    ],
)
def test_a_raw_control_character_is_malformed_and_named_by_its_pointer(raw: bytes, where: str | None) -> None:
    with pytest.raises(MalformedJson, match="not JSON") as caught:
        parse_json(raw)
    assert caught.value.pointer == where


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"[" * 100_000, "/0" * MAX_DEPTH),
        (b'{"task":' * 100_000, "/task" * MAX_DEPTH),
        (b'{"a": NaN, "b": [0, ' + b'{"c":' * 100_000, "/b/1" + "/c" * (MAX_DEPTH - 2)),
        (b'{"a": 1, "b": 2, "a":' + b"[" * 100_000, "/a" + "/0" * (MAX_DEPTH - 1)),
        (b'{"<script>":' + b"[" * 100_000, ""),
        (b"]" + b"[" * 100_000, None),
        (b"{" * 100_000, None),
    ],
)
def test_what_is_nested_too_deep_is_named_by_its_pointer(raw: bytes, where: str | None) -> None:
    with pytest.raises(MalformedJson, match="nested") as caught:
        parse_json(raw)
    assert caught.value.pointer == where


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_hundred_thousand_levels_are_refused_without_recursion(opening: bytes) -> None:
    with pytest.raises(MalformedJson, match="nested"):
        parse_json(opening * 100_000)


def test_the_deepest_allowed_nesting_is_read_and_one_more_is_refused() -> None:
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(MalformedJson, match="nested"):
        parse_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_brackets_inside_strings_are_not_nesting() -> None:
    assert parse_json(json.dumps(["[{" * 100, '\\"[[' * 40]).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b'"' + b'\\"' * 500_000,
        b'"\\' * 350_000,
        b'"' * 999_999,
        b"{" + b" " * 999_999,
        b"[" + b"NaN," * 250_000 + b"0]",
        b"[" * 30 + b"[]," * 330_000 + b"NaN" + b"]" * 30,
        b'["' + b"\x00" * 999_990 + b'"]',
        b"[" + b'"\x00",' * 249_990 + b"0]",
        b"[" + b"0," * 450_000 + b"[" * 100_000,
    ],
)
def test_hostile_text_of_a_megabyte_is_refused_without_work_that_grows_with_its_square(raw: bytes) -> None:
    started = time.process_time()
    with pytest.raises(MalformedJson):
        parse_json(raw)
    assert time.process_time() - started < 5.0  # usually a tenth of that; with the square it is minutes


def test_numbers_too_large_for_a_float_become_infinity() -> None:
    assert parse_json(b"[1e999, " + b"9" * 5000 + b"]") == [float("inf"), float("inf")]


@pytest.mark.parametrize("text", ["\x00", "a\nb", "\x7f", "\x85", "\ud800", "\udfff x"])
def test_control_characters_and_lone_surrogates_are_found_in_values_and_in_keys(text: str) -> None:
    problems = unsafe_strings({"a": [1, text], "b": {text: 1}, "c": "fine"})
    assert [problem.pointer for problem in problems] == ["/a/1", "/b"]
    assert all(text not in problem.detail for problem in problems)


def test_a_pointer_stops_where_a_name_is_not_plain() -> None:
    assert pointer("limits", 0, "latency_ms") == "/limits/0/latency_ms"
    assert pointer("labels", "<b>", "x") == "/labels"
    assert pointer("x" * 65) == ""
