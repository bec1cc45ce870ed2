"""What is written is what the library for RFC 8785 writes."""

import math
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from assembler.canonical import canonical

NUMBERS = (
    st.integers()
    | st.floats()
    | st.floats(1e-7, 1e-3)
    | st.floats(1e14, 1e22)
    | st.integers(-(2**54), 2**54).map(float)
)
TEXTS = st.text(st.characters(codec=None)) | st.text('\x00\x1f\x7f"\\/\b\n\u2028\ud7ff\ue000\U00010000')
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner) | st.tuples(inner, inner),
)


@given(VALUES)
@example({"latency_ms": 5.0, "size_mb": 1e-5, "classes": ["a", "é"], "none": None, "yes": True})
@example({"\ue000": 1, "\U00010000": 2})
@example({"\ud800": None})
@example({"\ud800": None, "a": math.nan})
@example([-0.0, 1e16, 123456789.5, 1e-4, 9.999e-5])
def test_it_is_what_the_library_writes(value: Any) -> None:
    try:
        wanted = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        # The latter is what it says of names with half a surrogate pair.
        with pytest.raises(type(error)):
            canonical(value)
        return
    assert canonical(value) == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, [2**53], {"a": "\ud800"}, {1: 2}, object()])
def test_what_is_no_such_value_is_refused_as_by_the_library(value: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical(value)
