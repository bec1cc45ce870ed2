"""What can be asked for."""

import pytest

from service.client import ProblemError
from tests.service.both import Ask, asked_for, both


@both
def test_what_can_be_asked_for_is_listed(ask: Ask, url: str) -> None:
    assert "clothes" in [one.name for one in ask(url, "supernets", device="local").supernets]
    assert "clothes" in [one.supernet for one in ask(url, "tasks").tasks]
    assert ask(url, "devices").devices[0].name == "local"
    assert ask(url, "device", "local").profiles["clothes"]
    with pytest.raises(ProblemError, match="not-found"):
        ask(url, "device", "none/../local")


@both
def test_devices_and_profiles_are_sent_as_the_contract_has_them(ask: Ask) -> None:
    assert asked_for(ask, "create_device", {"name": "pi"}) == (
        "POST /devices",
        b'{"name": "pi"}',
        {"id": "it"},
    )
    assert asked_for(ask, "add_profile", "pi", {})[0] == "POST /devices/pi/profiles"
