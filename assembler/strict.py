"""Strict JSON: one document, no surprises, and bounded work for hostile input."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from assembler.errors import FieldProblem, MalformedJson

MAX_DEPTH = 32
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INSIDE = (str, dict, list)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CLOSING = {"[": "]", "{": "}"}
# Strings are skipped possessively, the unfinished ones too: the scan stays linear for every input.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class _Repeated(dict[str, Any]):
    """An object in which a key stood twice."""

    key: str


class _Constant(str):
    """NaN, Infinity or -Infinity: JSON has no such numbers."""


def parse_json(raw: bytes) -> Any:
    """Return the document as dicts, lists, strings, numbers, booleans and None.

    Numbers too large for a float come back as infinity; whoever reads a number checks that it is finite.

    Args:
        raw: the whole document, UTF-8 without byte order mark.

    Raises:
        MalformedJson: not UTF-8, not JSON, a key twice in one object, NaN or Infinity, or nesting over 32.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"the body is not UTF-8 (byte {error.start})") from None
    _check_depth(text)
    try:
        document, faults = _read(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise MalformedJson(f"the body is not JSON ({error.msg}, {place})", _where_raw(text)) from None
    if faults:
        raise _first_fault(document)
    return document


def pointer(*parts: str | int) -> str:
    """Return a JSON pointer (RFC 6901) that ends at the parent of the first part that is no plain name.

    What a client sends may come back in a pointer only as far as it is a short plain name.
    """
    found = ""
    for part in parts:
        name = str(part)
        if not _PLAIN_KEY.fullmatch(name):
            break
        found += f"/{name}"
    return found


def unsafe_strings(document: Any) -> tuple[FieldProblem, ...]:
    """Return a problem for every place with control characters (NUL included) or lone surrogates."""
    if not _UNSAFE.search("".join(_strings(document))):
        return ()
    detail = "holds a control character or half of a surrogate pair"
    return tuple(FieldProblem(where, "scenario-invalid", detail) for where in _unsafe_places(document))


def walk(document: Any) -> Iterator[tuple[Sequence[str | int], Any]]:
    """Yield every object, list and string of a document with the keys and indices that lead to it, in order.

    They change with the next step: whoever keeps them copies them.
    """
    at: list[str | int] = []
    yield at, document
    left = [_inside(document)]
    while left:
        for key, value in left[-1]:
            if isinstance(value, _INSIDE):
                at.append(key)
                yield at, value
                if value and not isinstance(value, str):
                    left.append(_inside(value))
                    break
                at.pop()
        else:
            left.pop()
            del at[-1:]


def _inside(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value if isinstance(value, list) else ())


def _read(text: str, *, strict: bool = True) -> tuple[Any, list[_Repeated | _Constant]]:
    """Return a document and what in it JSON does not allow, in the order in which each of them ends.

    Args:
        text: nested no deeper than a little over 32.
        strict: whether control characters in strings are refused.
    """
    faults: list[_Repeated | _Constant] = []

    def check_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            found = _Repeated(found)
            found.key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            faults.append(found)
        return found

    def keep_constant(name: str) -> _Constant:
        found = _Constant(name)
        faults.append(found)
        return found

    document = json.loads(
        text,
        strict=strict,
        object_pairs_hook=check_keys,
        parse_constant=keep_constant,
        parse_int=_parse_int,
    )
    return document, faults


def _first_fault(document: Any) -> MalformedJson:
    for at, value in walk(document):
        if isinstance(value, _Repeated):
            return MalformedJson("the same key stands twice in one object", pointer(*at, value.key))
        if isinstance(value, _Constant):
            return MalformedJson(f"{value} is not a JSON number", pointer(*at))
    raise AssertionError("a document with a fault")


def _where_raw(text: str) -> str | None:
    """Return where a control character stands in a string, None where that is not all that is wrong with a text."""
    try:
        document, _ = _read(text, strict=False)
    except json.JSONDecodeError:
        return None
    return next(_unsafe_places(document), None)


def _where_deep(text: str, start: int, closing: list[str]) -> str | None:
    """Return where the object or list stands that begins at ``start``, None when what is before it is not JSON.

    Args:
        text: nested too deep from ``start`` on.
        start: an index into it.
        closing: the brackets that end what is open there, outermost first.
    """
    try:
        document, faults = _read(f"{text[:start]}NaN{''.join(reversed(closing))}", strict=False)
    except json.JSONDecodeError:
        return None
    *_, mark = (fault for fault in faults if isinstance(fault, _Constant))
    return next(pointer(*at) for at, value in walk(document) if value is mark)


def _unsafe_places(document: Any) -> Iterator[str]:
    for at, value in walk(document):
        strings = value.keys() if isinstance(value, dict) else [value] if isinstance(value, str) else []
        if any(_UNSAFE.search(text) for text in strings):
            yield pointer(*at)


def _strings(document: Any) -> Iterator[str]:
    """Yield every key and string of a document, in any order: quicker than to walk it."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _check_depth(text: str) -> None:
    closing: list[str] = []
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match.group()
        if token in _CLOSING:
            if len(closing) == MAX_DEPTH:
                detail = f"objects and lists are nested deeper than {MAX_DEPTH}"
                raise MalformedJson(detail, _where_deep(text, match.start(), closing))
            closing.append(_CLOSING[token])
        elif token in ("]", "}") and closing:
            closing.pop()


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= 300 else float(digits)
