import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import URL
from typer.testing import CliRunner

from service.audit import Action, list_entries
from service.cli import app
from service.db import Database, open_engine, reading
from service.keys import get_key, key_id_of
from service.scopes import Scope
from service.settings import Settings


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def keys(data_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["keys", *words, "--data-dir", str(data_dir)])


def create(data_dir: Path, *words: str) -> dict[str, Any]:
    result = keys(data_dir, "create", "--json", *words)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_key_is_made_listed_and_revoked(data_dir: Path) -> None:
    made = create(data_dir, "--tenant", "acme")
    assert set(made) == {"id", "secret"}
    assert key_id_of(made["secret"]) == made["id"]
    (listed,) = json.loads(keys(data_dir, "list", "--json").stdout)
    assert (listed["id"], listed["tenant"], listed["scopes"]) == (made["id"], "acme", ["read", "write"])
    assert (listed["expires_at"], listed["revoked_at"]) == (None, None)
    said = json.loads(keys(data_dir, "revoke", made["id"], "--json").stdout)
    again = json.loads(keys(data_dir, "revoke", made["id"], "--json").stdout)
    assert said == again
    (listed,) = json.loads(keys(data_dir, "list", "--json").stdout)
    assert listed["revoked_at"] == said["revoked_at"]


def test_scopes_expiry_and_label_are_kept_and_all_is_in_the_audit_log(data_dir: Path) -> None:
    words = ["--scope", "admin", "--scope", "read", "--expires-in", "30d", "--label", "Anna's"]
    made = create(data_dir, "--tenant", "acme", *words)
    keys(data_dir, "revoke", made["id"])
    engine = open_engine(Settings(data_dir=data_dir).database)
    with reading(engine) as connection:
        key = get_key(connection, made["id"])
        entries = list_entries(connection, "acme", limit=9)
    engine.dispose()
    assert key is not None
    assert key.expires_at is not None
    assert (key.scopes, key.label) == ((Scope.READ, Scope.ADMIN), "Anna's")
    assert key.expires_at == pytest.approx(time.time() + 30 * 24 * 3600, abs=60)
    assert [(entry.action, entry.target) for entry in entries] == [
        (Action.KEY_REVOKED, made["id"]),
        (Action.KEY_CREATED, made["id"]),
    ]


def test_people_are_told_the_secret_once(data_dir: Path) -> None:
    said = keys(data_dir, "create", "--tenant", "acme").stdout
    secret = next(word for word in said.split() if word.startswith("nnf_"))
    create(data_dir, "--tenant", "zeta")
    listed = keys(data_dir, "list", "--tenant", "acme").stdout
    assert listed.split()[:3] == [key_id_of(secret), "acme", "read,write"]
    assert len(listed.splitlines()) == 1
    assert secret not in listed
    assert "is revoked" in keys(data_dir, "revoke", key_id_of(secret) or "").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("create", "--tenant", "Acme"),
        ("create", "--tenant", "acme", "--scope", "everything"),
        ("create", "--tenant", "acme", "--expires-in", "soon"),
        ("create", "--tenant", "acme", "--label", "a\x1b[31m"),
        ("revoke", "key_unknown"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_two(
    data_dir: Path, words: tuple[str, ...]
) -> None:
    keys(data_dir, "list")
    result = keys(data_dir, *words)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("nnfactory: ")


def test_whoever_makes_a_key_is_told_of_which_database_it_is_and_whether_that_is_new(data_dir: Path) -> None:
    place = str(data_dir / "nnfactory.db")
    first, second = (keys(data_dir, "create", "--tenant", "acme") for _ in range(2))
    assert f"of      {place}\n" in first.stdout
    assert f"of      {place}\n" in second.stdout
    assert first.stderr == f"nnfactory: there was no database, a new one was made: {place}\n"
    assert second.stderr == ""


def test_a_program_is_told_of_a_new_database_beside_the_key(data_dir: Path) -> None:
    made = keys(data_dir, "create", "--tenant", "acme", "--json")
    assert set(json.loads(made.stdout)) == {"id", "secret"}
    assert str(data_dir) in made.stderr
    assert "a new one was made" in keys(data_dir / "other", "list").stderr


def test_the_folder_of_a_key_is_told_in_full(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NNF_DATA_DIR", raising=False)
    made = CliRunner().invoke(app, ["keys", "create", "--tenant", "acme"])
    assert f"of      {tmp_path / 'nnfactory-data' / 'nnfactory.db'}\n" in made.stdout


@pytest.mark.both_databases
def test_the_server_of_a_key_is_told_without_its_password(
    database_url: URL | None, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database_url is not None:
        monkeypatch.setenv("NNF_DATABASE_URL", database_url.set(password="hush").render_as_string(False))
    made = keys(settings.data_dir, "create", "--tenant", "acme")
    place = "nnfactory.db" if database_url is None else str(database_url.database)
    assert (made.exit_code, made.stderr) == (0, "")
    assert f"{place}\n" in made.stdout
    assert "hush" not in made.stdout
