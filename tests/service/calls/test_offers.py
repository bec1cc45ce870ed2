"""What can be asked for."""

import json

import pytest

from service.client import ProblemError
from tests.service.both import Ask, both


@both
def test_what_can_be_asked_for_is_listed(ask: Ask, url: str) -> None:
    assert "clothes" in [one.name for one in ask(url, "supernets", device="local").supernets]
    assert "clothes" in [one.supernet for one in ask(url, "tasks").tasks]
    assert ask(url, "devices").devices[0].name == "local"
    assert ask(url, "device", "local").profiles["clothes"]
    with pytest.raises(ProblemError, match="not-found"):
        ask(url, "device", "none/../local")


@both
def test_a_device_is_made_and_what_was_measured_on_it_is_uploaded(ask: Ask, url: str) -> None:
    name = f"pi-{ask.__name__}"
    made = ask(url, "create_device", {"name": name, "title": "Pi"})
    assert (made.name, made.title, made.versions) == (name, "Pi", [])
    with pytest.raises(ProblemError, match="name-taken"):
        ask(url, "create_device", {"name": name})
    local = ask(url, "device", "local").profiles["clothes"]
    measured = {"digest": local.pop("digest").removeprefix("sha256:"), "profile": local}
    version = ask(url, "add_profile", name, measured)
    assert (version.version, version.supernet, version.used) == (1, "clothes", True)
    assert ask(url, "add_profile", name, json.dumps(measured).encode()) == version
    assert ask(url, "device", name).versions == [version]
    with pytest.raises(ProblemError, match="profile-invalid") as caught:
        ask(url, "add_profile", name, {})
    assert {one.pointer for one in caught.value.problems} == {"/digest", "/profile"}
