"""Which part of a file a request asks for (RFC 9110, sections 13.1.5 and 14)."""

import re

from starlette.requests import Request

from service.errors import Refused

# Longer numbers are no positions in any file.
_RANGE = re.compile(r"bytes=([0-9]{0,99})-([0-9]{0,99})", re.IGNORECASE | re.ASCII)


def wanted_range(request: Request, etag: str, size: int) -> range | None:
    """Return the positions of the bytes that are asked for, None when the whole file is to be sent.

    Several ranges, other units and what is no range are left aside, as a server may do with any of them.

    Args:
        request: with the method GET; others have no ranges.
        etag: the file's entity tag, strong and quoted.
        size: of the file, bytes.

    Raises:
        Refused: the file has none of the bytes.
    """
    # A date never fits: files are told apart by their tags alone, and no time goes out with them.
    if "if-range" in request.headers and request.headers.getlist("if-range") != [etag]:
        return None
    found = _RANGE.fullmatch(",".join(request.headers.getlist("range")))
    if found is None:
        return None
    first, last = (int(text) if text else None for text in found.groups())
    if first is None:
        return None if last is None else _suffix(last, size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise _beyond(size)
    return range(first, size if last is None else min(last + 1, size))


def _suffix(count: int, size: int) -> range | None:
    if count == 0:
        raise _beyond(size)
    # An empty file has a suffix, but no Content-Range can name it.
    return range(max(0, size - count), size) if size else None


def _beyond(size: int) -> Refused:
    detail = f"the file has none of the bytes asked for; it is {size} bytes long"
    return Refused("range-not-satisfiable", detail, headers={"Content-Range": f"bytes */{size}"})
