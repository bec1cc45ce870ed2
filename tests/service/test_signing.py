import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import FastAPI
from sqlalchemy import make_url

from service.app import create_app
from service.errors import SettingInvalid
from service.house import House
from service.settings import Settings, read_settings
from service.signing import KEY_FILE, open_signer
from service.worker import Worker
from tests.service.making import BODY, ask
from tests.service.test_app import problem_of


@pytest.fixture
def artifact(app: FastAPI, worker_with: Callable[[], Worker]) -> dict[str, Any]:
    posted = ask(app, "POST", "/models", json=BODY)
    worker_with().work_once()
    job = ask(app, "GET", posted.headers["location"]).json()
    found: dict[str, Any] = {**job["result"]["artifacts"][0], "model": job["model_id"]}
    return found


def test_the_public_key_tells_a_file_from_a_changed_one(app: FastAPI, artifact: dict[str, Any]) -> None:
    told = ask(app, "GET", "/signing-key").json()
    key = load_pem_public_key(told["public_key"].encode())
    assert isinstance(key, Ed25519PublicKey)
    signature = ask(app, "GET", f"/artifacts/{artifact['id']}/signature")
    assert signature.status_code == 200
    assert len(signature.content) == 64
    assert signature.headers["key-id"] == told["key_id"]
    assert re.fullmatch("[0-9a-f]{32}", told["key_id"])
    assert signature.headers["content-disposition"] == f'attachment; filename="{artifact["id"]}.onnx.sig"'
    content = ask(app, "GET", f"/artifacts/{artifact['id']}").content
    key.verify(signature.content, content)
    with pytest.raises(InvalidSignature):
        key.verify(signature.content, content + b"\0")
    assert ask(app, "GET", f"/artifacts/{artifact['id']}/signature").content == signature.content


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_a_signature(app: FastAPI, artifact: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(ask(app, "GET", "/signing-key").json()["public_key"])
    (tmp_path / "model").write_bytes(ask(app, "GET", f"/artifacts/{artifact['id']}").content)
    (tmp_path / "sig").write_bytes(ask(app, "GET", f"/artifacts/{artifact['id']}/signature").content)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "model"]

    def verify() -> int:
        done = subprocess.run([*command, "-sigfile", "sig"], cwd=tmp_path, capture_output=True, check=False)
        return done.returncode

    assert verify() == 0
    (tmp_path / "model").write_bytes(b"another")
    assert verify() != 0


def test_what_is_not_there_is_not_signed(house: House, app: FastAPI, artifact: dict[str, Any]) -> None:
    path = f"/artifacts/{artifact['id']}/signature"
    problem_of(ask(app, "GET", "/artifacts/art_none/signature"), 404, "not-found")
    (file,) = [one for one in house.settings.store_path.glob("*/*") if one.is_file()]
    content = file.read_bytes()
    file.write_bytes(content[::-1])
    assert ask(app, "GET", path).status_code == 503
    file.write_bytes(content)
    assert ask(app, "GET", path).status_code == 200
    assert ask(app, "DELETE", f"/models/{artifact['model']}").status_code == 204
    problem_of(ask(app, "GET", path), 410, "artifact-expired")


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    found: list[str] = []

    def begin() -> None:
        signer = open_signer(settings)
        assert signer is not None
        found.append(signer.key_id)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begin()
    assert len(found) == 9
    assert len(set(found)) == 1
    assert (settings.data_dir / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.data_dir.iterdir()] == [KEY_FILE]


def test_a_key_that_is_set_signs_wherever_the_data_folder_is(tmp_path: Path) -> None:
    one = open_signer(Settings(data_dir=tmp_path / "one"))
    url = make_url("postgresql://nnf@localhost/nnf")
    set_ = {"NNF_SIGNING_KEY": str(tmp_path / "one" / KEY_FILE), "NNF_DATABASE_URL": str(url)}
    other = open_signer(read_settings(set_, data_dir=tmp_path / "other"))
    assert one is not None
    assert other is not None
    assert one.key_id == other.key_id
    assert not (tmp_path / "other").exists()


def test_machines_that_share_a_database_make_no_keys_of_their_own(house: House) -> None:
    settings = replace(house.settings, database_url=make_url("postgresql://nnf@localhost/nnf"))
    assert open_signer(settings) is None
    answer = ask(create_app(replace(house, signer=None)), "GET", "/signing-key")
    assert "NNF_SIGNING_KEY" in problem_of(answer, 404, "not-found")["detail"]


@pytest.mark.parametrize("content", [None, b"", b"no key", b"\xff\xfe"])
def test_a_key_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingInvalid, match=r"NNF_SIGNING_KEY names .*key\.pem, which") as refused:
        open_signer(Settings(data_dir=tmp_path, signing_key=path))
    assert "no key" not in str(refused.value)


def test_a_public_key_signs_nothing(tmp_path: Path) -> None:
    signer = open_signer(Settings(data_dir=tmp_path))
    assert signer is not None
    (tmp_path / "public.pem").write_text(signer.public_pem)
    with pytest.raises(SettingInvalid, match="no Ed25519 private key"):
        open_signer(Settings(data_dir=tmp_path, signing_key=tmp_path / "public.pem"))
