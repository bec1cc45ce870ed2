"""Accept: which media type an answer comes in, by the header's weights (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence

from starlette.requests import Request

from service.errors import Refused

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def chosen_type(request: Request, offered: Sequence[str]) -> str:
    """Return the media type that the client likes best, of equal ones the first that is offered.

    Raises:
        Refused: ``not-acceptable``, it takes none of them.
    """
    ranges = [_range(part) for part in ",".join(request.headers.getlist("accept") or ["*/*"]).split(",")]
    best = max(offered, key=lambda kind: _liking(kind, ranges))
    if not _liking(best, ranges):
        raise Refused("not-acceptable", f"only {' or '.join(offered)} can be made here")
    return best


def _range(part: str) -> tuple[str, float]:
    """Return a range of media types and its weight; one that cannot be read is worth nothing."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weights = [piece.removeprefix("q=") for piece in parameters if piece.startswith("q=")]
    if not weights:
        return kind, 1.0
    return kind, float(weights[0]) if _WEIGHT.fullmatch(weights[0]) else 0.0


def _liking(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the weight of a media type: that of the narrowest range that holds it, 0 where none does."""
    for fitting in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        weights = [weight for one, weight in ranges if one == fitting]
        if weights:
            return max(weights)
    return 0.0
