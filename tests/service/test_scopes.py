import pytest

from service.scopes import MAX_LIFE_S, TENANT, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)]
)
def test_a_time_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30D", "1y", "999999999w", "3d\n", "³d"]
)
def test_what_is_no_time_or_over_ten_years_is_none(text: str) -> None:
    assert seconds_of(text) is None
    assert seconds_of(f"{int(MAX_LIFE_S)}s") == MAX_LIFE_S


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a_b", "a" * 64, "a\n", "ä"])
def test_a_tenant_has_a_plain_name(name: str) -> None:
    assert TENANT.fullmatch(name) is None
    assert TENANT.fullmatch("acme-2")
