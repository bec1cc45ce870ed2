"""Commands on what can be asked for: devices and supernets."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.asking import read_bytes
from service.commands.show import figure, show_facts
from service.commands.talk import CODES_HELP, EXIT_PROBLEM, Talk, answered, given, open_talk, printable, tell

if TYPE_CHECKING:
    from service.schemas import SupernetsView, VersionView

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
    rows = [
        (one.version, one.supernet or "", "yes" if one.used else "no", one.created_at, one.digest)
        for one in found.versions or ()
    ]

    def show() -> None:
        show_facts(talk, facts)
        if rows:
            talk.table(("version", "supernet", "used", "uploaded", "digest"), rows)

    talk.give(found, show)
    return 0


@devices.command("create")
@answered
@given("talk", open_talk)
def create_device(
    talk: Talk,
    name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9 and hyphens.")],
    title: Annotated[str | None, typer.Option(help="For people.")] = None,
    runtime: Annotated[str | None, typer.Option(help="That runs models there. Default: onnxruntime.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="That models run on. Default: 1.")] = None,
) -> int:
    """Make a device known; models can be had for it once what was measured there is uploaded."""
    facts = {"name": name, "title": title, "runtime": runtime, "threads": threads}
    made = talk.client.create_device({key: value for key, value in facts.items() if value is not None})
    talk.give(made, lambda: print(made.name))
    return 0


@devices.command("upload")
@answered
@given("talk", open_talk)
def upload_profiles(
    talk: Talk,
    name: Annotated[str, typer.Argument(help="Of the device.")],
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="What `nnfactory measure` wrote there; - for stdin."),
    ],
) -> int:
    """Upload what was measured on a device, a file for each supernet; the newest of each is used."""
    from service.client import ClientError

    found: list[VersionView] = []
    for file, content in [(file, read_bytes(file)) for file in files]:
        try:
            found.append(talk.client.add_profile(name, content))
        except ClientError as error:
            uploaded = ", ".join(files[: len(found)]) or "none"
            error.add_note(f"the file is {file}; uploaded before it: {uploaded}")
            raise
    rows = [
        (file, one.version, one.supernet or "", "yes" if one.used else "no", one.digest)
        for file, one in zip(files, found, strict=True)
    ]
    talk.give(found, lambda: talk.table(("file", "version", "supernet", "used", "digest"), rows))
    return 0


@devices.command("delete")
@answered
@given("talk", open_talk)
def delete_device(talk: Talk, name: Annotated[str, typer.Argument()]) -> int:
    """Delete a device of your own with its profiles; models that were made for it stay."""
    talk.client.delete_device(name)
    talk.give({"deleted": name}, lambda: print(f"{name} is deleted"))
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
    known = talk.client.supernets(device=device)
    found = next((one for one in known.supernets if one.name == name), None)
    if found is None:
        return tell(_absent(name, known), EXIT_PROBLEM)
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


def _absent(name: str, known: "SupernetsView") -> str:
    """Return why a supernet is not there."""
    for one in known.left_out:
        if one.name == name:
            return f"the supernet {name} is left out: {one.lacks}"
    names = ", ".join(one.name for one in known.supernets)
    return f"there is no supernet {name}; there are {names or 'none'}"


def _measured(profiles: dict[str, dict[str, object] | None]) -> str:
    return ", ".join(name for name, profile in profiles.items() if profile)
