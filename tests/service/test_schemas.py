from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from service.schemas import rfc3339


@given(st.floats(min_value=0, max_value=4e9))
def test_times_are_utc_with_milliseconds_and_lead_back(at: float) -> None:
    text = rfc3339(at)
    assert text is not None
    assert text.endswith("Z")
    assert len(text) == len("2026-01-02T03:04:05.678Z")
    assert abs(datetime.fromisoformat(text).timestamp() - at) < 0.002


def test_no_time_stays_none() -> None:
    assert rfc3339(None) is None
