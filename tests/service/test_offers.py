from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI

from assembler.device import save_profile
from service.app import create_app
from service.catalog import Catalog
from service.house import House
from service.shelf import Shelf
from service.zoo import LeftOut
from tests.service.making import BODY, ask, make_profile, write_member
from tests.small import small_checkpoint, small_supernet


@pytest.mark.parametrize("path", ["/supernets", "/supernets?device=local"])
def test_a_supernet_says_what_it_recognises_and_is_fed(app: FastAPI, path: str) -> None:
    (supernet,) = ask(app, "GET", path).json()["supernets"]
    assert (supernet["name"], supernet["kind"]) == ("clothes", "classification")
    assert supernet["classes"] == ["coat", "bag", "sneaker", "boot"]
    assert supernet["input"] == {"channels": 1, "height": 16, "width": 16}
    assert supernet["dense"] == {"latency_ms": None, "memory_mb": None, "size_mb": None, "accuracy": 0.5}
    assert supernet["card"]["digest"].startswith("sha256:")


def test_a_supernet_that_is_left_out_is_listed_with_what_it_lacks(app: FastAPI, tmp_path: Path) -> None:
    assert ask(app, "GET", "/supernets").json()["left_out"] == []
    app.state.house.catalog.left_out = (LeftOut("animals", "classification", "animals lacks images"),)
    body = ask(app, "GET", "/supernets").json()
    assert body["left_out"] == [
        {"name": "animals", "kind": "classification", "lacks": "animals lacks images"}
    ]
    assert len(body["supernets"]) == 1


def test_a_rescan_lists_what_has_come_since(app: FastAPI, house: House, tmp_path: Path) -> None:
    shelf = Shelf([tmp_path / "zoo"], None)
    catalog = Catalog(house.settings.data_dir, shelf.members, shelf)
    app = create_app(replace(house, catalog=catalog))
    small_checkpoint(tmp_path / "zoo" / "small", small_supernet())
    (write_member(tmp_path / "zoo" / "torn") / "weights.safetensors").write_bytes(b"")
    assert len(ask(app, "GET", "/supernets").json()["supernets"]) == 1
    body = ask(app, "POST", "/supernets/rescan").json()
    assert [one["name"] for one in body["supernets"]] == ["small"]
    lacks = {one["name"]: (one["kind"], one["lacks"]) for one in body["left_out"]}
    assert lacks.keys() == {"clothes", "torn"}  # the first has no networks that predict
    assert "its assembler cannot be loaded" in lacks["clothes"][1]
    assert lacks["torn"][0] is None
    assert "weights.safetensors does not match" in lacks["torn"][1]


def test_figures_on_an_unknown_device_are_refused(app: FastAPI) -> None:
    response = ask(app, "GET", "/supernets?device=toaster")
    assert (response.status_code, response.json()["code"]) == (422, "unknown-device")


def test_tasks_are_listed(app: FastAPI) -> None:
    (task,) = ask(app, "GET", "/tasks").json()["tasks"]
    assert task == {
        "kind": "classification",
        "supernet": "clothes",
        "classes": ["coat", "bag", "sneaker", "boot"],
        "groups": {},
    }


@pytest.mark.parametrize("path", ["/supernets", "/devices", "/devices/local"])
def test_a_damaged_profile_harms_nothing_while_the_last_whole_one_is_known(
    app: FastAPI, house: House, path: str
) -> None:
    (member,) = house.catalog.members
    file = save_profile(make_profile(member.card), house.settings.data_dir)
    whole = ask(app, "GET", path).json()
    file.write_bytes(b"torn")
    response = ask(app, "GET", path)
    assert (response.status_code, response.json()) == (200, whole)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/supernets"), ("GET", "/devices"), ("POST", "/models/check")]
)
def test_a_damaged_profile_that_was_never_whole_is_not_ready(
    app: FastAPI, house: House, method: str, path: str
) -> None:
    (member,) = house.catalog.members
    save_profile(make_profile(member.card), house.settings.data_dir).write_bytes(b"torn")
    response = ask(app, method, path, **({"json": BODY} if method == "POST" else {}))
    assert (response.status_code, response.json()["code"]) == (503, "not-ready")
    assert "retry-after" in response.headers
