"""Routes of devices: those that are built in, and those that a tenant made and measured."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from assembler.device import DEVICE_NAME, DEVICES, RUNTIME, Device, Profile
from assembler.scenario import Strict
from service.auth import Caller, Reader, Writer
from service.bodies import LIMIT_BYTES, described, parse_body
from service.catalog import Catalog
from service.db import now_in
from service.devices import (
    BUILT_IN,
    Made,
    Version,
    add_version,
    create_device,
    delete_device,
    get_device,
    list_devices,
    list_versions,
)
from service.errors import Refused
from service.house import House
from service.http import demand_json, json_response, read_body
from service.schemas import DevicesView, DeviceView, VersionView, rfc3339
from service.scopes import Action
from service.uploads import MAX_BYTES, parse_profile, refused

router = APIRouter()
MAX_TITLE = 200
MAX_THREADS = 256
PROFILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StoredProfile"}}},
    }
}


class DeviceWanted(Strict):
    """A device to be made."""

    name: str = Field(
        pattern=f"^{DEVICE_NAME.pattern}$",
        description="1 to 63 of a-z, 0-9 and hyphens, beginning with no hyphen",
    )
    title: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TITLE,
        description=f"a text of 1 to {MAX_TITLE} characters",
    )
    runtime: str = Field(default=RUNTIME, pattern=f"^{RUNTIME}$", description=RUNTIME)
    threads: int = Field(
        default=1,
        ge=1,
        le=MAX_THREADS,
        description=f"a whole number, 1 to {MAX_THREADS}: how many threads models run on",
    )


@router.post(
    "/devices",
    status_code=201,
    openapi_extra=described(DeviceWanted),
    response_model=DeviceView,
    responses={409: {"description": "There is a device of this name, or too many"}},
)
async def create_a_device(request: Request, caller: Writer) -> Response:
    """Make a device known; models can be had for it once a profile is uploaded."""
    demand_json(request)
    house: House = request.app.state.house
    wanted = parse_body(DeviceWanted, await read_body(request, LIMIT_BYTES), "device-invalid")
    device = Device(
        name=wanted.name,
        title=wanted.title or wanted.name,
        runtime=wanted.runtime,
        threads=wanted.threads,
        measured_here=False,
    )
    made = await house.database.write(_create, caller, device)
    body = _view_made(house.catalog, made, [])
    return json_response(body, 201, {"Location": f"/devices/{device.name}"})


@router.post(
    "/devices/{name}/profiles",
    status_code=201,
    openapi_extra=PROFILE_BODY,
    response_model=VersionView,
    responses={409: {"description": "Too many profiles of the device"}},
)
async def upload_profile(name: str, request: Request, caller: Writer) -> Response:
    """Keep what ``nnfactory measure`` wrote on a device; of each supernet the newest version is used.

    Content that is there already is answered with the version that it has.
    """
    demand_json(request)
    house: House = request.app.state.house
    if name in BUILT_IN:
        raise refused("", "the service measures this device itself; make one of your own")
    made = await house.database.read(_find, caller.tenant, name)
    raw = await read_body(request, MAX_BYTES)
    cards = [member.card for member in house.catalog.members]
    profile = await run_in_threadpool(parse_profile, raw, made.device, cards)
    version = await house.database.write(_upload, caller, made, profile)
    body = _view_version(house.catalog, version)
    return json_response(body, 201, {"Location": f"/devices/{name}"})


@router.get("/devices", response_model=DevicesView)
async def list_all_devices(request: Request, caller: Reader) -> Response:
    """List the devices: built in, and the tenant's own; their versions are told of one by one."""
    demand_json(request)
    house: House = request.app.state.house
    catalog = house.catalog
    built_in = await run_in_threadpool(lambda: [_view_built_in(catalog, device) for device in DEVICES])
    own = await house.database.read(list_devices, caller.tenant)
    return json_response(DevicesView(devices=[*built_in, *(_view_made(catalog, made, None) for made in own)]))


@router.get("/devices/{name}", response_model=DeviceView)
async def read_device(name: str, request: Request, caller: Reader) -> Response:
    """Read one device with its profiles, and its versions where it is the tenant's own."""
    demand_json(request)
    house: House = request.app.state.house
    for device in DEVICES:
        if device.name == name:
            return json_response(await run_in_threadpool(_view_built_in, house.catalog, device))
    made, versions = await house.database.read(_read, caller.tenant, name)
    return json_response(_view_made(house.catalog, made, versions))


@router.delete("/devices/{name}", status_code=204)
async def delete_a_device(name: str, request: Request, caller: Writer) -> Response:
    """Delete a device with its profiles; models that were made for it stay, its jobs that wait fail."""
    house: House = request.app.state.house
    if name in BUILT_IN:
        raise Refused("not-found", "there is no such device of yours")
    await house.database.write(_delete, caller, name)
    return Response(status_code=204)


def _delete(connection: Connection, caller: Caller, name: str) -> None:
    made = _find(connection, caller.tenant, name)
    delete_device(connection, made)
    caller.note(connection, Action.DEVICE_DELETED, target=made.id, now=now_in(connection))


def _create(connection: Connection, caller: Caller, device: Device) -> Made:
    now = now_in(connection)
    made = create_device(connection, caller.tenant, device, now=now)
    caller.note(connection, Action.DEVICE_CREATED, target=made.id, now=now)
    return made


def _upload(connection: Connection, caller: Caller, made: Made, profile: Profile) -> Version:
    now = now_in(connection)
    version, is_new = add_version(connection, made, profile, now=now)
    if is_new:
        caller.note(connection, Action.PROFILE_UPLOADED, target=made.id, now=now)
    return version


def _find(connection: Connection, tenant: str, name: str) -> Made:
    made = get_device(connection, tenant, name)
    if made is None:
        raise Refused("not-found", "there is no such device")
    return made


def _read(connection: Connection, tenant: str, name: str) -> tuple[Made, list[Version]]:
    made = _find(connection, tenant, name)
    return made, list_versions(connection, made)


def _view_built_in(catalog: Catalog, device: Device) -> DeviceView:
    profiles = {member.card.name: catalog.profile(device, member.card) for member in catalog.members}
    return DeviceView(**device.model_dump(), profiles=_view_profiles(profiles))


def _view_made(catalog: Catalog, made: Made, versions: list[Version] | None) -> DeviceView:
    profiles = {member.card.name: made.profiles.get(member.card.digest) for member in catalog.members}
    return DeviceView(
        **made.device.model_dump(),
        profiles=_view_profiles(profiles),
        id=made.id,
        created_at=rfc3339(made.created_at),
        versions=None if versions is None else [_view_version(catalog, one) for one in versions],
    )


def _view_profiles(profiles: dict[str, Profile | None]) -> dict[str, dict[str, Any] | None]:
    return {
        name: None
        if profile is None
        else {"digest": f"sha256:{profile.digest}", **profile.model_dump(mode="json")}
        for name, profile in profiles.items()
    }


def _view_version(catalog: Catalog, version: Version) -> VersionView:
    names = {member.card.digest: member.card.name for member in catalog.members}
    return VersionView(
        version=version.number,
        digest=f"sha256:{version.digest}",
        supernet=names.get(version.supernet),
        supernet_digest=f"sha256:{version.supernet}",
        created_at=rfc3339(version.created_at) or "",
        used=version.used,
    )
