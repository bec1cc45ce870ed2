"""Devices that tenants made, and what was measured on them: versions that never change, of which the newest is used."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, delete, func, insert, select, update

from assembler.device import DEVICE_NAME, DEVICES, Device, Profile
from service.db import Database, one_at_a_time
from service.errors import Refused
from service.ids import new_id
from service.tables import devices, uploaded_profiles

MAX_DEVICES = 100
MAX_VERSIONS = 1000
BUILT_IN = frozenset(device.name for device in DEVICES)


@dataclass(frozen=True, slots=True)
class Made:
    """A device that a tenant made, and its newest profile for each supernet, by the digest of its Card."""

    id: str
    device: Device
    created_at: float
    profiles: Mapping[str, Profile]


@dataclass(frozen=True, slots=True)
class Version:
    """A profile that was uploaded; ``number`` counts those of a device, the newest of a supernet is ``used``."""

    number: int
    digest: str
    supernet: str
    created_at: float
    used: bool


@dataclass(frozen=True, slots=True)
class Own:
    """Devices of one tenant: those that were asked for, and the names of all."""

    devices: tuple[Made, ...] = ()
    names: tuple[str, ...] = ()

    def find(self, name: str) -> Made | None:
        """Return the device of a name that was asked for, None where the tenant has none."""
        return next((made for made in self.devices if made.device.name == name), None)


NONE = Own()


async def own_devices(database: Database, tenant: str, names: Collection[str]) -> Own:
    """Return those devices of a tenant that are named; where all names are built in, the database is not asked."""
    if BUILT_IN.issuperset(names):
        return NONE
    return await database.read(find_own, tenant, names)


def find_own(connection: Connection, tenant: str, names: Collection[str]) -> Own:
    """Return those devices of a tenant that are named."""
    if BUILT_IN.issuperset(names):
        return NONE
    found = connection.execute(_of(tenant)).mappings().all()
    wanted = frozenset(names)
    return Own(_made(connection, [row for row in found if row["name"] in wanted]), _names(found))


def list_devices(connection: Connection, tenant: str) -> tuple[Made, ...]:
    """Return all devices of a tenant, by their names."""
    return _made(connection, connection.execute(_of(tenant)).mappings().all())


def get_device(connection: Connection, tenant: str, name: str) -> Made | None:
    """Return a tenant's device, or None when it has none of this name."""
    if not DEVICE_NAME.fullmatch(name):
        return None
    rows = connection.execute(_of(tenant).where(devices.c.name == name)).mappings().all()
    return next(iter(_made(connection, rows)), None)


def create_device(connection: Connection, tenant: str, device: Device, *, now: float) -> Made:
    """Insert a device and return it.

    Raises:
        Refused: ``name-taken``; or ``too-many-devices``, the tenant has 100.
    """
    one_at_a_time(connection, f"devices of {tenant}")
    names = _names(connection.execute(_of(tenant)).mappings().all())
    if device.name in BUILT_IN or device.name in names:
        raise Refused("name-taken", "there is a device of this name already")
    if len(names) >= MAX_DEVICES:
        raise Refused("too-many-devices", f"there are {MAX_DEVICES} devices already")
    made = Made(new_id("dev"), device, now, {})
    facts = device.model_dump(include={"name", "title", "runtime", "threads"})
    connection.execute(insert(devices).values(id=made.id, tenant=tenant, created_at=now, **facts))
    return made


def delete_device(connection: Connection, made: Made) -> None:
    """Delete a device with all that was measured on it; its name is free again."""
    connection.execute(delete(uploaded_profiles).where(uploaded_profiles.c.device_id == made.id))
    connection.execute(delete(devices).where(devices.c.id == made.id))


def add_version(connection: Connection, made: Made, profile: Profile, *, now: float) -> tuple[Version, bool]:
    """Keep what was measured on a device; return its version, and whether it is new.

    What was uploaded before and is not the newest of its supernet any more becomes that, under a new number.

    Raises:
        Refused: ``too-many-profiles``, the device has 1000.
    """
    one_at_a_time(connection, f"profiles of {made.id}")
    known = list_versions(connection, made)
    there = next((version for version in known if version.digest == profile.digest), None)
    if there is not None and there.used:
        return there, False
    added = Version(
        max((version.number for version in known), default=0) + 1,
        profile.digest,
        profile.supernet,
        now,
        used=True,
    )
    if there is not None:
        again = update(uploaded_profiles).where(
            uploaded_profiles.c.device_id == made.id, uploaded_profiles.c.digest == profile.digest
        )
        connection.execute(again.values(version=added.number, created_at=now))
        return added, True
    if len(known) >= MAX_VERSIONS:
        raise Refused("too-many-profiles", f"there are {MAX_VERSIONS} profiles of this device already")
    connection.execute(
        insert(uploaded_profiles).values(
            device_id=made.id,
            digest=added.digest,
            version=added.number,
            supernet=added.supernet,
            document=profile.model_dump_json(exclude_defaults=True),
            created_at=now,
        )
    )
    return added, True


def list_versions(connection: Connection, made: Made) -> list[Version]:
    """Return all that was measured on a device, newest first."""
    table = uploaded_profiles.c
    query = select(table.version, table.digest, table.supernet, table.created_at)
    rows = connection.execute(query.where(table.device_id == made.id).order_by(table.version.desc())).all()
    newest = {row.supernet: row.version for row in reversed(rows)}
    return [
        Version(row.version, row.digest, row.supernet, row.created_at, newest[row.supernet] == row.version)
        for row in rows
    ]


def _of(tenant: str) -> Select[Any]:
    return select(devices).where(devices.c.tenant == tenant).order_by(devices.c.name)


def _names(rows: Sequence[RowMapping]) -> tuple[str, ...]:
    return tuple(row["name"] for row in rows)


def _made(connection: Connection, rows: Sequence[RowMapping]) -> tuple[Made, ...]:
    """Return devices with their newest profiles."""
    profiles: dict[str, dict[str, Profile]] = {row["id"]: {} for row in rows}
    table = uploaded_profiles.c
    newest = (
        select(table.device_id, table.supernet, func.max(table.version).label("version"))
        .where(table.device_id.in_(list(profiles)))
        .group_by(table.device_id, table.supernet)
        .subquery()
    )
    query = select(table.device_id, table.document).join_from(
        newest,
        uploaded_profiles,
        (newest.c.device_id == table.device_id) & (newest.c.version == table.version),
    )
    for device_id, document in connection.execute(query) if profiles else ():
        profile = _profile(document)
        profiles[device_id][profile.supernet] = profile
    return tuple(Made(row["id"], _device(row), row["created_at"], profiles[row["id"]]) for row in rows)


def _device(row: RowMapping) -> Device:
    facts = {name: row[name] for name in ("name", "title", "runtime", "threads")}
    return Device(**facts, measured_here=False)


# A version never changes: what was read once need not be read again.
@lru_cache(maxsize=256)
def _profile(document: str) -> Profile:
    return Profile.model_validate_json(document)
