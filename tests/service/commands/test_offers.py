"""Commands on what can be asked for."""

from collections.abc import Callable

from typer.testing import Result

from tests.service.commands.running import parsed

Run = Callable[..., Result]


def test_devices_and_supernets_are_listed_and_shown(ask: Run) -> None:
    assert "local" in ask("devices", "list").stdout
    assert "clothes" in ask("devices", "get", "local").stdout
    assert parsed(ask("devices", "get", "local", "--json"))["name"] == "local"
    listed = ask("supernets", "list").stdout
    assert "clothes" in listed
    assert "left out: cifar10: " in listed
    assert "coat, bag, sneaker, boot" in ask("supernets", "get", "clothes").stdout
    assert parsed(ask("supernets", "get", "clothes", "--json"))["classes"][0] == "coat"
    unknown = ask("supernets", "get", "nothing")
    assert unknown.exit_code == 1
    assert "there is no supernet nothing" in unknown.stderr
