"""Devices over HTTP: made, measured elsewhere, asked for, and nobody else's."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from assembler.artifact import Assembly
from assembler.device import Profile, StoredProfile, save_profile
from assembler.phase import Phase
from assembler.scenario import Scenario
from service.app import create_app
from service.catalog import Catalog
from service.db import Database, reading
from service.devices import Own
from service.house import House
from service.tables import audit
from service.uploads import MAX_BYTES
from service.worker import Worker
from service.zoo import find_members
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, ask, build_quickly, make_profile, new_key, with_auth
from tests.small import small_checkpoint, small_supernet

pytestmark = ON_BOTH_DATABASES

SCENARIO = {**BODY, "device": "pi"}


def stored(profile: Profile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        StoredProfile(digest=profile.digest, profile=profile).model_dump_json()
    )
    return found


@pytest.fixture
def measured(house: House) -> dict[str, Any]:
    """What was measured on another machine, for the one supernet."""
    (member,) = house.catalog.members
    return stored(make_profile(member.card, 3.0))


@pytest.fixture
def pi(app: FastAPI, measured: dict[str, Any]) -> dict[str, Any]:
    """A device with a profile; what was answered to the upload."""
    assert ask(app, "POST", "/devices", json={"name": "pi"}).status_code == 201
    uploaded = ask(app, "POST", "/devices/pi/profiles", json=measured)
    assert uploaded.status_code == 201, uploaded.text
    found: dict[str, Any] = uploaded.json()
    return found


def test_a_device_is_made_listed_and_read(app: FastAPI) -> None:
    wanted = {"name": "pi", "title": "In the shed", "runtime": "onnxruntime", "threads": 4}
    made = ask(app, "POST", "/devices", json=wanted)
    assert made.status_code == 201
    told = made.json()
    assert {name: told[name] for name in wanted} == wanted
    assert told["id"].startswith("dev_")
    assert (told["measured_here"], told["profiles"], told["versions"]) == (False, {"clothes": None}, [])
    assert ask(app, "GET", made.headers["location"]).json() == told
    local, mine = ask(app, "GET", "/devices").json()["devices"]
    assert (local["name"], local["id"], local["versions"]) == ("local", None, None)
    assert mine == {**told, "versions": None}
    assert ask(app, "POST", "/devices", json={"name": "attic"}).json()["title"] == "attic"


def test_what_is_built_in_is_listed_and_read_as_it_is_measured(app: FastAPI, house: House) -> None:
    local = ask(app, "GET", "/devices/local").json()
    assert ask(app, "GET", "/devices").json()["devices"] == [local]
    assert (local["name"], local["profiles"]) == ("local", {"clothes": None})
    (member,) = house.catalog.members
    save_profile(make_profile(member.card), house.settings.data_dir)
    assert ask(app, "GET", "/devices/local").json()["profiles"]["clothes"]["device"] == "local"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": "Pi"}, "/name"),
        ({"name": "-pi"}, "/name"),
        ({"name": "pi\n"}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 64}, "/name"),
        ({"name": 5}, "/name"),
        ({"title": ""}, "/title"),
        ({"title": "x" * 201}, "/title"),
        ({"runtime": "tflite"}, "/runtime"),
        ({"threads": 0}, "/threads"),
        ({"threads": 257}, "/threads"),
        ({"threads": True}, "/threads"),
        ({"threads": 1.5}, "/threads"),
        ({"tenant": "acme"}, "/tenant"),
    ],
)
def test_what_cannot_be_a_device_is_refused_by_its_field(
    app: FastAPI, change: dict[str, Any], pointer: str
) -> None:
    response = ask(app, "POST", "/devices", json={"name": "pi", **change})
    assert (response.status_code, response.json()["code"]) == (422, "device-invalid")
    assert [one["pointer"] for one in response.json()["errors"]] == [pointer]
    assert len(ask(app, "GET", "/devices").json()["devices"]) == 1


@pytest.mark.parametrize("name", ["local", "pi"])
def test_a_name_that_is_taken_is_refused(app: FastAPI, pi: object, name: str) -> None:
    response = ask(app, "POST", "/devices", json={"name": name})
    assert (response.status_code, response.json()["code"]) == (409, "name-taken")


def test_an_upload_is_a_version_that_never_changes(
    app: FastAPI, house: House, pi: dict[str, Any], measured: dict[str, Any]
) -> None:
    assert (pi["version"], pi["supernet"], pi["used"]) == (1, "clothes", True)
    again = ask(app, "POST", "/devices/pi/profiles", json=measured)
    assert (again.status_code, again.json()) == (201, pi)
    (member,) = house.catalog.members
    newer = ask(app, "POST", "/devices/pi/profiles", json=stored(make_profile(member.card, 4.0))).json()
    assert (newer["version"], newer["used"]) == (2, True)
    told = ask(app, "GET", "/devices/pi").json()
    assert told["versions"] == [newer, {**pi, "used": False}]
    profile = told["profiles"]["clothes"]
    assert (profile["digest"], profile["device"]) == (newer["digest"], "pi")
    assert profile["latency"]["scale"] == 4.0


def test_a_profile_that_cannot_be_used_is_refused_by_its_field(
    app: FastAPI, pi: object, measured: dict[str, Any]
) -> None:
    broken = {**measured, "profile": {**measured["profile"], "threads": 2}}
    response = ask(app, "POST", "/devices/pi/profiles", json=broken)
    assert (response.status_code, response.json()["code"]) == (422, "profile-invalid")
    assert [one["pointer"] for one in response.json()["errors"]] == ["/digest"]
    too_large = ask(app, "POST", "/devices/pi/profiles", json={"digest": "x" * MAX_BYTES})
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body-too-large")
    assert len(ask(app, "GET", "/devices/pi").json()["versions"]) == 1


def test_what_the_service_measures_itself_and_what_is_not_there_take_no_upload(
    app: FastAPI, measured: dict[str, Any]
) -> None:
    built_in = ask(app, "POST", "/devices/local/profiles", json=measured)
    assert (built_in.status_code, built_in.json()["code"]) == (422, "profile-invalid")
    for name in ("pi", "PI", "pi%00", "x" * 100):
        for method, path in (("POST", f"/devices/{name}/profiles"), ("GET", f"/devices/{name}")):
            response = ask(app, method, path, **({"json": measured} if method == "POST" else {}))
            assert (response.status_code, response.json()["code"]) == (404, "not-found")


def test_every_tenant_has_devices_of_its_own(house: House, measured: dict[str, Any]) -> None:
    app = create_app(with_auth(house))
    (key, mine), (_, theirs), (_, reader) = (
        new_key(house),
        new_key(house, "other"),
        new_key(house, "acme", "read"),
    )
    assert ask(app, "POST", "/devices", json={"name": "pi"}, headers=mine).status_code == 201
    assert ask(app, "POST", "/devices/pi/profiles", json=measured, headers=mine).status_code == 201
    for path, sent in (("/devices", {"name": "attic"}), ("/devices/pi/profiles", measured)):
        assert ask(app, "POST", path, json=sent, headers=reader).status_code == 403
        assert ask(app, "POST", path, json=sent).status_code == 401
    assert ask(app, "GET", "/devices/pi", headers=reader).status_code == 200
    assert ask(app, "GET", "/devices/pi", headers=theirs).status_code == 404
    assert ask(app, "POST", "/devices/pi/profiles", json=measured, headers=theirs).status_code == 404
    for path in ("/models", "/models/check", "/models/pareto"):
        refused = ask(app, "POST", path, json=SCENARIO, headers=theirs)
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown-device")
        assert '"pi"' not in refused.json()["detail"]
    refused = ask(app, "GET", "/supernets?device=pi", headers=theirs)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown-device")
    assert [one["name"] for one in ask(app, "GET", "/devices", headers=theirs).json()["devices"]] == ["local"]
    assert ask(app, "POST", "/devices", json={"name": "pi"}, headers=theirs).status_code == 201
    with reading(house.engine) as connection:
        rows = connection.execute(select(audit).order_by(audit.c.id)).all()
    told = [(row.action, row.key_id, row.tenant) for row in rows]
    assert told[:2] == [("device-created", key, "acme"), ("profile-uploaded", key, "acme")]
    assert len({row.target for row in rows}) == 2


def test_what_was_uploaded_before_is_used_again_when_it_is_uploaded_again(
    app: FastAPI, pi: dict[str, Any], house: House
) -> None:
    (member,) = house.catalog.members
    first, other = (stored(make_profile(member.card, factor)) for factor in (3.0, 5.0))
    answers = [ask(app, "POST", "/devices/pi/profiles", json=one).json() for one in (first, other, first)]
    assert [(one["version"], one["used"]) for one in answers] == [(1, True), (2, True), (3, True)]
    assert answers[2]["digest"] == answers[0]["digest"] == pi["digest"]
    versions = ask(app, "GET", "/devices/pi").json()["versions"]
    assert [(one["version"], one["used"]) for one in versions] == [(3, True), (2, False)]
    assert ask(app, "GET", "/devices/pi").json()["profiles"][member.card.name] is not None


def test_a_device_that_is_deleted_leaves_its_name_and_its_models(
    house: House, measured: dict[str, Any], worker_with: Callable[..., Worker]
) -> None:
    app = create_app(with_auth(house))
    (_, acme), (_, zeta) = new_key(house, "acme"), new_key(house, "zeta")
    assert ask(app, "POST", "/devices", json={"name": "pi"}, headers=acme).status_code == 201
    assert ask(app, "POST", "/devices/pi/profiles", json=measured, headers=acme).status_code == 201
    made, waiting = (ask(app, "POST", "/models", json=SCENARIO, headers=acme).json() for _ in range(2))
    assert worker_with().work_once(made["id"])
    assert ask(app, "DELETE", "/devices/pi", headers=zeta).status_code == 404
    assert ask(app, "DELETE", "/devices/local", headers=acme).status_code == 404
    assert ask(app, "DELETE", "/devices/pi", headers=acme).status_code == 204
    assert ask(app, "DELETE", "/devices/pi", headers=acme).status_code == 404
    assert ask(app, "GET", "/devices/pi", headers=acme).status_code == 404
    job = ask(app, "GET", f"/jobs/{made['id']}", headers=acme).json()
    artifact = job["result"]["artifacts"][0]["id"]
    assert ask(app, "GET", f"/artifacts/{artifact}", headers=acme).status_code == 200
    assert waiting["id"] != made["id"]
    assert ask(app, "POST", "/devices", json={"name": "pi"}, headers=acme).status_code == 201
    with reading(house.engine) as connection:
        actions = list(connection.scalars(select(audit.c.action).order_by(audit.c.id)))
    assert actions.count("device-deleted") == 1


def test_a_misspelt_device_is_named_with_the_tenants_closest_one(app: FastAPI, pi: object) -> None:
    response = ask(app, "POST", "/models", json={**BODY, "device": "Pi"})
    assert (response.status_code, response.json()["code"]) == (422, "unknown-device")
    assert 'did you mean "pi"' in response.json()["detail"]


def test_the_dense_figures_are_those_of_the_device(app: FastAPI, house: House, pi: object) -> None:
    (member,) = house.catalog.members
    (supernet,) = ask(app, "GET", "/supernets?device=pi").json()["supernets"]
    modules = sum(block.modules for block in member.card.architecture.blocks)
    assert supernet["dense"]["latency_ms"] == pytest.approx(3 * 0.01 * modules + 0.02, abs=1e-4)
    (supernet,) = ask(app, "GET", "/supernets").json()["supernets"]
    assert supernet["dense"]["latency_ms"] is None


def test_a_scenario_for_a_device_waits_for_no_measurement_here(
    app: FastAPI, house: House, pi: dict[str, Any], worker_with: Callable[..., Worker]
) -> None:
    job = ask(app, "POST", "/models", json=SCENARIO)
    assert job.status_code == 202
    assert job.json()["scenario_digest"]
    batch = ask(app, "POST", "/models/batch", json=[SCENARIO, {**SCENARIO, "name": "twin"}]).json()
    assert {one["scenario_digest"] for one in batch["jobs"]} == {job.json()["scenario_digest"]}
    seen: list[Own] = []

    class Seeing:
        def build(self, wanted: Scenario, own: Own) -> Iterable[Phase | Assembly]:
            seen.append(own)
            return build_quickly(wanted)

        def digest(self, wanted: Scenario, own: Own) -> str:
            return house.catalog.digest(wanted, house.catalog.card(wanted, own), own) or ""

        def look(self) -> None:
            pass

    worker = worker_with(Seeing())
    while worker.work_once():
        pass
    assert ask(app, "GET", job.headers["location"]).json()["state"] == "succeeded"
    (own,) = seen
    ((digest, profile),) = ((one.digest, one) for made in own.devices for one in made.profiles.values())
    assert (f"sha256:{digest}", profile.device) == (pi["digest"], "pi")


def test_the_profiles_version_is_part_of_the_scenarios_digest(
    app: FastAPI, house: House, pi: object, measured: dict[str, Any]
) -> None:
    def digest(name: str) -> str:
        found: str = ask(app, "POST", "/models", json={**BODY, "device": name}).json()["scenario_digest"]
        return found

    (member,) = house.catalog.members
    first = digest("pi")
    ask(app, "POST", "/devices/pi/profiles", json=stored(make_profile(member.card, 4.0)))
    assert digest("pi") not in (None, first)
    ask(app, "POST", "/devices", json={"name": "attic"})
    ask(app, "POST", "/devices/attic/profiles", json=measured)
    assert digest("attic") not in (None, first)


def test_a_device_without_a_profile_for_the_supernet_is_told_so(app: FastAPI) -> None:
    ask(app, "POST", "/devices", json={"name": "pi"})
    for path, sent in (
        ("/models", SCENARIO),
        ("/models/check", SCENARIO),
        ("/models/pareto", SCENARIO),
        ("/models/batch", [SCENARIO]),
    ):
        response = ask(app, "POST", path, json=sent)
        assert (response.status_code, response.json()["code"]) == (422, "device-not-measured")
        assert response.json()["errors"][0]["pointer"].endswith("/device")
        assert "clothes" in response.json()["detail"]


def test_only_the_median_is_foretold_for_a_device_that_is_elsewhere(app: FastAPI, pi: object) -> None:
    limits = {"latency_ms": 1.5, "latency_percentile": 95}
    response = ask(app, "POST", "/models", json={**SCENARIO, "limits": limits})
    assert (response.status_code, response.json()["code"]) == (422, "scenario-invalid")
    assert response.json()["errors"][0]["pointer"] == "/limits/latency_percentile"


def test_a_scenario_is_checked_and_surveyed_with_what_was_uploaded_to_another_process(
    house: House, tmp_path: Path
) -> None:
    card = small_checkpoint(tmp_path / "small", small_supernet())
    catalog = Catalog(house.settings.data_dir, find_members([tmp_path / "small"]))
    save_profile(make_profile(card), house.settings.data_dir)
    one = create_app(replace(house, catalog=catalog))
    ask(one, "POST", "/devices", json={"name": "pi"})
    task = {"kind": "classification", "classes": ["bee", "ant"]}
    wanted = {"task": task, "device": "pi", "limits": {"size_mb": 1.0}}
    assert ask(one, "POST", "/models/check", json=wanted).json()["code"] == "device-not-measured"
    other = create_app(replace(house, catalog=catalog, database=Database(house.settings.database)))
    for scale in (3.0, 5.0):
        ask(other, "POST", "/devices/pi/profiles", json=stored(make_profile(card, scale)))
        mine, here = (
            ask(one, "POST", "/models/check", json={**wanted, "device": name}).json()["predicted"]
            for name in ("pi", "local")
        )
        assert mine["latency_ms"] - 0.02 == pytest.approx(scale * (here["latency_ms"] - 0.02))
        front = ask(one, "POST", "/models/pareto", json={"task": task, "device": "pi"}).json()
        # A point can be posted as limits: it is raised by the margin of the profile.
        assert front["dense"]["latency_ms"] == pytest.approx(1.04 * mine["latency_ms"], rel=1e-3)
    other.state.house.engine.dispose()
