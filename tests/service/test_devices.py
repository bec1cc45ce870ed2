"""Devices that tenants made: whose they are, and which of what was measured on them is used."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from assembler.device import Device, Profile
from service.db import Database, reading, writing
from service.devices import (
    MAX_DEVICES,
    NONE,
    Made,
    Own,
    Version,
    add_version,
    create_device,
    find_own,
    get_device,
    list_devices,
    list_versions,
    own_devices,
)
from service.errors import Refused
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import make_card, make_profile

pytestmark = ON_BOTH_DATABASES

CARD, OTHER = make_card(), make_card("shoes")


def device(name: str = "pi") -> Device:
    return Device(name=name, title="A small computer", threads=1, measured_here=False)


def create(engine: Engine, name: str = "pi", tenant: str = "acme", now: float = 100.0) -> Made:
    with writing(engine) as connection:
        return create_device(connection, tenant, device(name), now=now)


def add(engine: Engine, made: Made, profile: Profile, now: float = 200.0) -> tuple[Version, bool]:
    with writing(engine) as connection:
        return add_version(connection, made, profile, now=now)


def test_a_device_is_known_to_its_tenant_alone(engine: Engine) -> None:
    made = create(engine)
    assert (made.device, made.created_at, made.profiles) == (device(), 100.0, {})
    assert made.id.startswith("dev_")
    other = create(engine, tenant="other")
    with reading(engine) as connection:
        assert get_device(connection, "acme", "pi") == made
        assert get_device(connection, "other", "pi") == other
        assert get_device(connection, "third", "pi") is None
        assert list_devices(connection, "acme") == (made,)
        assert list_devices(connection, "third") == ()


@pytest.mark.parametrize("name", ["local", "pi"])
def test_a_name_is_given_once(engine: Engine, name: str) -> None:
    create(engine)
    with pytest.raises(Refused, match="name-taken"):
        create(engine, name)


def test_of_several_that_take_a_name_at_once_one_gets_it(engine: Engine) -> None:
    def attempt(_: int) -> bool:
        try:
            create(engine)
        except Refused as refused:
            return refused.code != "name-taken"
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1


def test_a_tenant_has_so_many_devices_and_no_more(engine: Engine) -> None:
    with writing(engine) as connection:
        for number in range(MAX_DEVICES):
            create_device(connection, "acme", device(f"pi-{number}"), now=1.0)
    with pytest.raises(Refused, match="too-many-devices"):
        create(engine)
    create(engine, tenant="other")


@pytest.mark.parametrize("name", ["", "PI", "pi\0", "pi\n", "x" * 64])
def test_what_is_no_name_is_the_name_of_nothing(engine: Engine, name: str) -> None:
    with reading(engine) as connection:
        assert get_device(connection, "acme", name) is None
        assert find_own(connection, "acme", [name]) == NONE


def test_the_newest_version_is_used_for_each_supernet(engine: Engine) -> None:
    made = create(engine)
    old, new, other = make_profile(CARD), make_profile(CARD, 2.0), make_profile(OTHER)
    for number, profile in enumerate((old, other, new), start=1):
        version, is_new = add(engine, made, profile, now=300.0 - number)
        assert (version.number, version.digest, version.used, is_new) == (number, profile.digest, True, True)
    with reading(engine) as connection:
        found = get_device(connection, "acme", "pi")
        assert found is not None
        assert found.profiles == {CARD.digest: new, OTHER.digest: other}
        versions = list_versions(connection, made)
    assert [(one.number, one.used) for one in versions] == [(3, True), (2, True), (1, False)]


def test_content_that_is_used_stays_the_version_that_it_is_and_older_one_becomes_the_newest(
    engine: Engine,
) -> None:
    made = create(engine)
    old, new = make_profile(CARD), make_profile(CARD, 2.0)
    first, _ = add(engine, made, old)
    assert add(engine, made, old, now=800.0) == (first, False)
    add(engine, made, new)
    again, is_new = add(engine, made, old, now=900.0)
    assert (again, is_new) == (Version(3, first.digest, first.supernet, 900.0, used=True), True)
    with reading(engine) as connection:
        found = [(one.number, one.used) for one in list_versions(connection, made)]
    assert found == [(3, True), (2, False)]


def test_a_device_has_so_many_versions_and_no_more(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.devices.MAX_VERSIONS", 1)
    made = create(engine)
    add(engine, made, make_profile(CARD))
    with pytest.raises(Refused, match="too-many-profiles"):
        add(engine, made, make_profile(CARD, 2.0))
    _, is_new = add(engine, made, make_profile(CARD))
    assert not is_new


def test_devices_are_found_by_name_and_the_names_of_all_are_told(engine: Engine) -> None:
    made = create(engine)
    create(engine, "camera")
    create(engine, "secret", tenant="other")
    with reading(engine) as connection:
        own = find_own(connection, "acme", ["pi", "local", "secret"])
    assert own == Own((made,), ("camera", "pi"))
    assert own.find("pi") == made
    assert own.find("camera") is own.find("secret") is None


def test_for_what_is_built_in_no_database_is_asked(database: Database) -> None:
    create(database.engine)

    async def ask(names: list[str]) -> Own:
        try:
            return await own_devices(database, "acme", names)
        finally:
            await database.leave_loop()

    assert asyncio.run(ask(["pi"])).names == ("pi",)
    database.engine.dispose()
    broken = Database.__new__(Database)
    assert asyncio.run(own_devices(broken, "acme", ["local"])) is NONE
