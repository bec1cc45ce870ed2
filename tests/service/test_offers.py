import pytest
from fastapi import FastAPI

from tests.service.making import ask


@pytest.mark.parametrize("path", ["/supernets", "/supernets?device=local"])
def test_a_supernet_says_what_it_recognises_and_is_fed(app: FastAPI, path: str) -> None:
    (supernet,) = ask(app, "GET", path).json()["supernets"]
    assert (supernet["name"], supernet["kind"]) == ("clothes", "classification")
    assert supernet["classes"] == ["coat", "bag", "sneaker", "boot"]
    assert supernet["input"] == {"channels": 1, "height": 16, "width": 16}
    assert supernet["dense"] == {"latency_ms": None, "memory_mb": None, "size_mb": None, "accuracy": 0.5}
    assert supernet["card"]["digest"].startswith("sha256:")


def test_figures_on_an_unknown_device_are_refused(app: FastAPI) -> None:
    response = ask(app, "GET", "/supernets?device=toaster")
    assert (response.status_code, response.json()["code"]) == (422, "unknown-device")


def test_tasks_and_devices_are_listed(app: FastAPI) -> None:
    (task,) = ask(app, "GET", "/tasks").json()["tasks"]
    assert task == {
        "kind": "classification",
        "supernet": "clothes",
        "classes": ["coat", "bag", "sneaker", "boot"],
    }
    devices = ask(app, "GET", "/devices").json()["devices"]
    local = ask(app, "GET", "/devices/local").json()
    assert local in devices
    assert (local["name"], local["profiles"]) == ("local", {"clothes": None})
