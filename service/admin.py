"""Routes of API keys and of the audit log."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from assembler.scenario import Strict
from service.audit import Action, list_entries, note
from service.auth import Admin, Caller
from service.bodies import LIMIT_BYTES, described, parse_body
from service.db import now_in
from service.errors import Refused
from service.gate import Gate
from service.house import House
from service.http import (
    cut,
    demand_json,
    json_response,
    query_choice,
    query_id,
    query_page_size,
    query_page_token,
    read_body,
)
from service.keys import Key, create_key, get_key, list_keys, revoke_key
from service.parameters import PAGE, query_parameter
from service.schemas import AuditView, KeysView, KeyView, NewKeyView, view_entry, view_key
from service.scopes import MAX_LABEL, MAX_LIFE_S, TENANT, TENANT_FORM, USUAL, Scope

router = APIRouter()


class KeyWanted(Strict):
    """A key to be made."""

    tenant: str | None = Field(
        default=None,
        pattern=f"^{TENANT.pattern}$",
        description=f"{TENANT_FORM}; by default that of the caller",
    )
    scopes: list[Scope] = Field(
        default=list(USUAL), min_length=1, max_length=len(Scope), description=f"a list of {', '.join(Scope)}"
    )
    expires_in_s: float | None = Field(
        default=None, gt=0, le=MAX_LIFE_S, description="a number of seconds, at most ten years"
    )
    label: str | None = Field(
        default=None, max_length=MAX_LABEL, description=f"a text of at most {MAX_LABEL} characters"
    )


FILTERS = [
    query_parameter("action", "only what was done so", {"type": "string", "enum": list(Action)}),
    query_parameter("key", "only what was done with the key of this id", {"type": "string"}),
]


@router.post("/keys", status_code=201, openapi_extra=described(KeyWanted), response_model=NewKeyView)
async def create_a_key(request: Request, caller: Admin) -> Response:
    """Make a key of the caller's tenant; its secret is told this once. An operator's key makes those of any tenant."""
    demand_json(request)
    house: House = request.app.state.house
    wanted = parse_body(KeyWanted, await read_body(request, LIMIT_BYTES), "key-invalid")
    _demand_right(caller, wanted)
    key, secret = await house.database.write(_create, wanted, caller)
    body = NewKeyView(**view_key(key).model_dump(), secret=secret)
    return json_response(body, 201, {"Location": f"/keys/{key.id}", "Cache-Control": "no-store"})


@router.get("/keys", openapi_extra={"parameters": PAGE}, response_model=KeysView)
async def list_all_keys(request: Request, caller: Admin) -> Response:
    """List the tenant's keys, newest first, also those that are no longer good; an operator sees all tenants'."""
    demand_json(request)
    house: House = request.app.state.house
    size, before = query_page_size(request), query_page_token(request, "key")
    return json_response(await house.database.read(_read_keys, caller, size, before))


@router.get("/keys/{key_id:id}", response_model=KeyView)
async def read_key(key_id: str, request: Request, caller: Admin) -> Response:
    """Read one key, without its secret."""
    demand_json(request)
    house: House = request.app.state.house
    return json_response(view_key(await house.database.read(_find, key_id, caller)))


@router.delete("/keys/{key_id:id}", status_code=204, response_class=Response)
async def delete_key(key_id: str, request: Request, caller: Admin) -> Response:
    """Have a key be good no longer, within a second everywhere; it stays in the list."""
    house: House = request.app.state.house
    gate: Gate = request.app.state.gate
    await house.database.write(_revoke, key_id, caller)
    gate.forget(key_id)
    return Response(status_code=204)


@router.get("/audit", openapi_extra={"parameters": [*FILTERS, *PAGE]}, response_model=AuditView)
async def read_audit(request: Request, caller: Admin) -> Response:
    """Read who did what for the tenant, newest first; an operator sees all tenants' and failures of unknown keys."""
    demand_json(request)
    house: House = request.app.state.house
    action = query_choice(request, "action", list(Action))
    key_id = query_id(request, "key", "key")
    size, before = query_page_size(request), query_page_token(request, "aud")
    kind = Action(action) if action else None
    return json_response(await house.database.read(_read_audit, caller, kind, key_id, size, before))


def _demand_right(caller: Caller, wanted: KeyWanted) -> None:
    """Check that the caller may make such a key. Raises Refused."""
    others = wanted.tenant not in (None, caller.tenant)
    if caller.reach is not None and (others or Scope.OPERATOR in wanted.scopes):
        detail = "only an operator's key makes keys of other tenants, or of operators"
        raise Refused("insufficient-scope", detail)


def _create(connection: Connection, wanted: KeyWanted, caller: Caller) -> tuple[Key, str]:
    now, tenant = now_in(connection), wanted.tenant or caller.tenant
    key, secret = create_key(
        connection,
        tenant,
        scopes=wanted.scopes,
        label=wanted.label,
        expires_at=None if wanted.expires_in_s is None else now + wanted.expires_in_s,
        now=now,
    )
    note(connection, Action.KEY_CREATED, caller.actor, tenant=tenant, target=key.id, now=now)
    return key, secret


def _revoke(connection: Connection, key_id: str, caller: Caller) -> None:
    now, key = now_in(connection), _find(connection, key_id, caller)
    if revoke_key(connection, key_id, now=now):
        note(connection, Action.KEY_REVOKED, caller.actor, tenant=key.tenant, target=key_id, now=now)


def _find(connection: Connection, key_id: str, caller: Caller) -> Key:
    key = get_key(connection, key_id)
    if key is None or caller.reach not in (None, key.tenant):
        raise Refused("not-found", "there is no such key")
    return key


def _read_keys(connection: Connection, caller: Caller, size: int, before: str | None) -> KeysView:
    found = list_keys(connection, caller.reach, before=before, limit=size + 1)
    page, token = cut(found, size)
    return KeysView(keys=[view_key(key) for key in page], next_page_token=token)


def _read_audit(
    connection: Connection,
    caller: Caller,
    action: Action | None,
    key_id: str | None,
    size: int,
    before: str | None,
) -> AuditView:
    options: dict[str, Any] = {"action": action, "key_id": key_id, "before": before, "limit": size + 1}
    found = list_entries(connection, caller.reach, **options)
    page, token = cut(found, size)
    return AuditView(entries=[view_entry(entry) for entry in page], next_page_token=token)
