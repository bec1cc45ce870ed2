"""Commands for API keys; they work on the database itself, so that there is a first key."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import SettingInvalid
from service.outcome import ending
from service.scopes import MAX_LABEL, TENANT, TENANT_FORM, USUAL, Scope, seconds_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from service.keys import Key

keyring = typer.Typer(no_args_is_help=True, help="Keys that clients come with where NNF_AUTH=required.")

DataDir = Annotated[
    Path | None, typer.Option(help="Where the database is. Default: NNF_DATA_DIR or ./nnfactory-data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SCOPES = ", ".join(Scope)


@keyring.command()
@ending
def create(
    tenant: Annotated[str, typer.Option(help=f"Whose key it is: {TENANT_FORM}.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"{SCOPES}; several may be given. Default: {' and '.join(USUAL)}."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="Such as 12h, 30d or 8w. Default: it is good until it is revoked.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="A note for people.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Make a key and print its secret, once: it is not kept."""
    scopes = _scopes(scope)
    life_s = None if expires_in is None else seconds_of(expires_in)
    if not TENANT.fullmatch(tenant):
        raise SettingInvalid(f"--tenant must be {TENANT_FORM}")
    if expires_in is not None and life_s is None:
        raise SettingInvalid("--expires-in must be a time such as 12h, 30d or 8w, at most ten years")
    if label is not None and (not label.isprintable() or len(label) > MAX_LABEL):
        raise SettingInvalid(f"--label must be at most {MAX_LABEL} printable characters")
    with _opened(data_dir) as engine:
        key, secret = _create(engine, tenant, scopes, label, life_s)
    if as_json:
        print(json.dumps({"id": key.id, "secret": secret}))
    else:
        print(f"id      {key.id}\nsecret  {secret}\nof      {_place(engine)}")
        print("It is shown this once; clients send it as Authorization: Bearer.")
    return 0


@keyring.command("list")
@ending
def list_all(
    tenant: Annotated[str | None, typer.Option(help="Only keys of this tenant.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """List keys, newest first, without their secrets; those that are no longer good too."""
    from service.db import reading
    from service.keys import list_keys
    from service.schemas import view_key

    with _opened(data_dir) as engine, reading(engine) as connection:
        found = [view_key(key) for key in list_keys(connection, tenant)]
    if as_json:
        print(json.dumps([key.model_dump(mode="json") for key in found]))
        return 0
    for key in found:
        ends = f"revoked {key.revoked_at}" if key.revoked_at else f"expires {key.expires_at or 'never'}"
        print("  ".join([key.id, key.tenant, ",".join(key.scopes), ends, key.label or ""]).rstrip())
    return 0


@keyring.command()
@ending
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> int:
    """Have a key be good no longer; every running service knows within a second."""
    with _opened(data_dir) as engine:
        revoked_at = _revoke(engine, key_id)
    print(json.dumps({"id": key_id, "revoked_at": revoked_at}) if as_json else f"{key_id} is revoked")
    return 0


def _create(
    engine: "Engine", tenant: str, scopes: list[Scope], label: str | None, life_s: float | None
) -> "tuple[Key, str]":
    from service.audit import Action, Actor, note
    from service.db import now_in, writing
    from service.keys import create_key

    with writing(engine) as connection:
        now = now_in(connection)
        expires_at = None if life_s is None else now + life_s
        key, secret = create_key(
            connection, tenant, scopes=scopes, label=label, expires_at=expires_at, now=now
        )
        note(connection, Action.KEY_CREATED, Actor(), tenant=tenant, target=key.id, now=now)
    return key, secret


def _revoke(engine: "Engine", key_id: str) -> str | None:
    """Revoke a key; return since when it is, RFC 3339."""
    from service.audit import Action, Actor, note
    from service.db import now_in, writing
    from service.keys import get_key, revoke_key
    from service.schemas import rfc3339

    with writing(engine) as connection:
        now = now_in(connection)
        key = get_key(connection, key_id)
        if key is None:
            raise SettingInvalid("there is no key of this id; `nnfactory keys list` shows them")
        if not revoke_key(connection, key_id, now=now):
            return rfc3339(key.revoked_at)
        note(connection, Action.KEY_REVOKED, Actor(), tenant=key.tenant, target=key_id, now=now)
    return rfc3339(now)


@contextmanager
def _opened(data_dir: Path | None) -> "Iterator[Engine]":
    """Yield the database; if it is a new one, which no running service knows, that is told."""
    from service.db import open_engine
    from service.migrations import bring_up_to_date
    from service.settings import read_settings

    settings = read_settings(data_dir=data_dir)
    is_new = settings.database_url is None and not settings.database_path.exists()
    engine = open_engine(settings.database)
    try:
        bring_up_to_date(engine)
        if is_new:
            print(f"nnfactory: there was no database, a new one was made: {_place(engine)}", file=sys.stderr)
        yield engine
    finally:
        engine.dispose()


def _place(engine: "Engine") -> str:
    """Return where a database is: a file, or a server's address without its password."""
    from service.db import is_embedded

    if is_embedded(engine):
        return str(Path(engine.url.database or "").absolute())
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=True)


def _scopes(names: list[str] | None) -> list[Scope]:
    unknown = [name for name in names or () if name not in list(Scope)]
    if unknown:
        raise SettingInvalid(f"--scope must be one of {SCOPES}")
    return [Scope(name) for name in names] if names else list(USUAL)
