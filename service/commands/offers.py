"""Commands on what can be asked for: devices and supernets."""

from typing import Annotated

import typer

from service.commands.show import figure, show_facts
from service.commands.talk import CODES_HELP, EXIT_PROBLEM, Talk, answered, given, open_talk, printable, tell

devices = typer.Typer(no_args_is_help=True, help="Devices that models can be made for.", epilog=CODES_HELP)
supernets = typer.Typer(no_args_is_help=True, help="Supernets that models are cut out of.", epilog=CODES_HELP)

Device = Annotated[str | None, typer.Option(help="Whose figures are shown. Default: local.")]


@devices.command("list")
@answered
@given("talk", open_talk)
def list_devices(talk: Talk) -> int:
    """List the devices."""
    found = talk.client.devices()
    rows = [(one.name, one.title, one.runtime, one.threads, _measured(one.profiles)) for one in found.devices]
    talk.give(found, lambda: talk.table(("name", "title", "runtime", "threads", "measured for"), rows))
    return 0


@devices.command("get")
@answered
@given("talk", open_talk)
def get_device(talk: Talk, name: Annotated[str, typer.Argument()]) -> int:
    """Show a device; its whole profiles with --json."""
    found = talk.client.device(name)
    facts = {
        "name": found.name,
        "title": found.title,
        "runtime": found.runtime,
        "threads": found.threads,
        "measured for": _measured(found.profiles),
    }
    talk.give(found, lambda: show_facts(talk, facts))
    return 0


@supernets.command("list")
@answered
@given("talk", open_talk)
def list_supernets(talk: Talk, device: Device = None) -> int:
    """List the supernets, with the figures of their dense nets."""
    found = talk.client.supernets(device=device)
    rows = [
        (
            one.name,
            one.kind,
            len(one.classes),
            f"{one.input.channels} x {one.input.height} x {one.input.width}",
            figure(one.dense.accuracy),
            figure(one.dense.latency_ms),
            figure(one.dense.memory_mb),
            figure(one.dense.size_mb),
        )
        for one in found.supernets
    ]
    heads = ("name", "kind", "classes", "input", "accuracy", "latency ms", "memory MB", "size MB")

    def show() -> None:
        talk.table(heads, rows)
        for one in found.left_out:
            print(printable(f"left out: {one.name}: {one.lacks}"))

    talk.give(found, show)
    return 0


@supernets.command("get")
@answered
@given("talk", open_talk)
def get_supernet(talk: Talk, name: Annotated[str, typer.Argument()], device: Device = None) -> int:
    """Show a supernet and its classes; its whole card with --json."""
    known = talk.client.supernets(device=device).supernets
    found = next((one for one in known if one.name == name), None)
    if found is None:
        names = ", ".join(one.name for one in known)
        return tell(f"there is no supernet {name}; there are {names or 'none'}", EXIT_PROBLEM)
    facts = {
        "name": found.name,
        "kind": found.kind,
        "classes": ", ".join(found.classes),
        "groups": ", ".join(found.groups),
        "input": f"{found.input.channels} x {found.input.height} x {found.input.width}",
        **{f"dense {each}": figure(value) for each, value in found.dense.model_dump().items()},
    }
    talk.give(found, lambda: show_facts(talk, facts))
    return 0


def _measured(profiles: dict[str, dict[str, object] | None]) -> str:
    return ", ".join(name for name, profile in profiles.items() if profile)
