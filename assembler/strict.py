"""Strict JSON: one document, no surprises, and bounded work for hostile input."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from assembler.errors import FieldProblem, MalformedJson

MAX_DEPTH = 32
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INSIDE = (str, dict, list)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Strings are skipped possessively, the unfinished ones too: the scan stays linear for every input.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class _Repeated(dict[str, Any]):
    """An object in which a key stood twice."""

    key: str


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
    repeated: list[_Repeated] = []

    def check_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            found = _Repeated(found)
            found.key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            repeated.append(found)
        return found

    try:
        document = json.loads(
            text, object_pairs_hook=check_keys, parse_constant=_refuse_constant, parse_int=_parse_int
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise MalformedJson(f"the body is not JSON ({error.msg}, {place})") from None
    if repeated:
        places = ((at, value) for at, value in walk(document) if isinstance(value, _Repeated))
        at, first = next(places)
        raise MalformedJson("the same key stands twice in one object", pointer(*at, first.key))
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
    found = []
    for at, value in walk(document):
        strings = value.keys() if isinstance(value, dict) else [value] if isinstance(value, str) else []
        if any(_UNSAFE.search(text) for text in strings):
            detail = "holds a control character or half of a surrogate pair"
            found.append(FieldProblem(pointer(*at), "scenario-invalid", detail))
    return tuple(found)


def walk(document: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield every object, list and string of a document with the keys and indices that lead to it, in order."""
    left: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while left:
        at, value = left.pop()
        yield at, value
        inside: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict):
            inside = value.items()
        elif isinstance(value, list):
            inside = enumerate(value)
        found = [((*at, key), one) for key, one in inside if isinstance(one, _INSIDE)]
        left.extend(reversed(found))


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
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match.group()
        if token in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedJson(f"objects and lists are nested deeper than {MAX_DEPTH}")
        elif token in ("]", "}"):
            depth -= 1


def _refuse_constant(name: str) -> Any:
    raise MalformedJson(f"{name} is not a JSON number")


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= 300 else float(digits)
