"""Commands on what can be asked for."""

import json
from collections.abc import Callable
from pathlib import Path

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


def test_a_supernet_that_is_left_out_is_said_to_be_and_what_it_lacks(ask: Run) -> None:
    left_out = {one["name"]: one["lacks"] for one in parsed(ask("supernets", "list", "--json"))["left_out"]}
    asked = ask("supernets", "get", "cifar10")
    assert asked.exit_code == 1
    assert f"the supernet cifar10 is left out: {left_out['cifar10']}" in asked.stderr


def test_a_device_is_made_and_given_what_was_measured_on_it(ask: Run, tmp_path: Path) -> None:
    assert ask("devices", "create", "shed", "--title", "In the shed").stdout == "shed\n"
    taken = ask("devices", "create", "shed", "--json")
    assert (taken.exit_code, json.loads(taken.stdout)["code"]) == (1, "name-taken")
    local = parsed(ask("devices", "get", "local", "--json"))["profiles"]["clothes"]
    measured = {"digest": local.pop("digest").removeprefix("sha256:"), "profile": local}
    file = tmp_path / "local-clothes.json"
    file.write_text(json.dumps(measured))
    (version,) = parsed(ask("devices", "upload", "shed", str(file), "--json"))
    assert (version["version"], version["supernet"], version["used"]) == (1, "clothes", True)
    assert version["digest"] in ask("devices", "upload", "shed", str(file), str(file)).stdout
    shown = ask("devices", "get", "shed").stdout
    assert "In the shed" in shown
    assert version["digest"] in shown
    broken = ask("devices", "upload", "shed", "-", sent=b"{}")
    assert broken.exit_code == 1
    assert "/digest: is required" in broken.stderr
    half = ask("devices", "upload", "shed", str(file), "-", sent=b"{}")
    assert half.exit_code == 1
    assert f"the file is -; uploaded before it: {file}" in half.stderr
    assert ask("devices", "upload", "shed", str(tmp_path / "nothing")).exit_code == 2
    assert ask("devices", "delete", "shed").stdout == "shed is deleted\n"
    assert ask("devices", "get", "shed").exit_code == 1
