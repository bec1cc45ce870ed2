"""Operations on what can be asked for: supernets, tasks, devices, and their profiles."""

from typing import Any

from service.calls.answers import Sent, fetch, parsed, parsed_object, posted, request
from service.calls.steps import Flow, Setup
from service.schemas import DevicesView, DeviceView, SupernetsView, TasksView


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


def create_device(setup: Setup, facts: Sent) -> Flow[dict[str, Any]]:
    """Make a device known, and return it."""
    return parsed_object((yield from fetch(setup, posted("devices", body=facts, repeatable=False))))


def add_profile(setup: Setup, name: str, profile: Sent) -> Flow[dict[str, Any]]:
    """Upload what was measured on a device, and return what is kept of it."""
    call = posted("devices", name, "profiles", body=profile, repeatable=False)
    return parsed_object((yield from fetch(setup, call)))
