"""Canonical JSON (RFC 8785): a text that equal values share, whoever writes it.

The library is right for every value and slow; what Python's own writer says in the same words is left to that one.
"""

import json
from typing import Any

import rfc8785

# Between these, Python and RFC 8785 (as ECMAScript does) write a number alike: in full, without an exponent.
LEAST, MOST = 1e-4, 1e15


class _Unlike(Exception):
    """The two may differ."""


def canonical(value: Any) -> bytes:
    """Return the canonical text of a JSON value, UTF-8.

    Raises:
        rfc8785.CanonicalizationError: it is no value that RFC 8785 knows: not finite, a whole number beyond 2^53.
        UnicodeEncodeError: a name is no text.
    """
    try:
        text = json.dumps(_alike(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (_Unlike, UnicodeEncodeError):
        return rfc8785.dumps(value)


def _alike(value: Any) -> Any:
    """Return a value that both write alike."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, dict):
        # Names are put in order by their UTF-16 units.
        if not all(isinstance(name, str) and name.isascii() for name in value):
            raise _Unlike
        return {name: _alike(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_alike(each) for each in value]
    if isinstance(value, int | float):
        if value == 0:
            return 0
        if not LEAST <= abs(value) <= MOST:
            raise _Unlike
        return int(value) if value == int(value) else value
    raise _Unlike
