"""Operations on what can be asked for: supernets, tasks, devices, and their profiles."""

from service.calls.answers import Sent, fetch, parsed, posted, request
from service.calls.steps import Flow, Setup
from service.schemas import DevicesView, DeviceView, SupernetsView, TasksView, VersionView


def supernets(setup: Setup, *, device: str | None = None) -> Flow[SupernetsView]:
    """Return all supernets, with the figures of their dense nets on a device (``local``)."""
    call = request("GET", "supernets", params={"device": device})
    return parsed(SupernetsView, (yield from fetch(setup, call)))


def tasks(setup: Setup) -> Flow[TasksView]:
    """Return what can be recognised."""
    return parsed(TasksView, (yield from fetch(setup, request("GET", "tasks"))))


def devices(setup: Setup) -> Flow[DevicesView]:
    """Return all devices."""
    return parsed(DevicesView, (yield from fetch(setup, request("GET", "devices"))))


def device(setup: Setup, name: str) -> Flow[DeviceView]:
    """Return one device with its profiles."""
    return parsed(DeviceView, (yield from fetch(setup, request("GET", "devices", name))))


def create_device(setup: Setup, facts: Sent) -> Flow[DeviceView]:
    """Make a device known, and return it; models can be had for it once a profile was added.

    Args:
        setup: of the client.
        facts: ``name``, and if wanted ``title``, ``runtime`` and ``threads``.
    """
    call = posted("devices", body=facts, repeatable=False)
    return parsed(DeviceView, (yield from fetch(setup, call)))


def delete_device(setup: Setup, name: str) -> Flow[None]:
    """Delete a device with its profiles; models that were made for it stay."""
    yield from fetch(setup, request("DELETE", "devices", name))


def add_profile(setup: Setup, name: str, profile: Sent) -> Flow[VersionView]:
    """Upload what was measured on a device, and return its version; content that is the newest already has one.

    Args:
        setup: of the client.
        name: of the device.
        profile: content of a file that ``nnfactory measure`` wrote there.
    """
    call = posted("devices", name, "profiles", body=profile)
    return parsed(VersionView, (yield from fetch(setup, call)))
