"""Routes of webhooks and their deliveries."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from assembler.errors import FieldProblem
from assembler.scenario import Strict
from service.auth import Caller, Reader, Writer
from service.bodies import LIMIT_BYTES, described, parse_body
from service.db import now_in, one_at_a_time
from service.errors import Refused
from service.house import House
from service.http import cut, demand_json, json_response, query_page_size, query_page_token, read_body
from service.outbox import Delivery, get_delivery, list_deliveries, replay
from service.parameters import PAGE
from service.schemas import (
    DeliveriesView,
    DeliveryView,
    NewWebhookView,
    WebhooksView,
    WebhookView,
    view_delivery,
    view_webhook,
)
from service.scopes import Action
from service.targets import (
    MAX_URL,
    Allowed,
    Resolve,
    TargetForbidden,
    find_addresses,
    read_target,
    resolve_host,
)
from service.webhooks import (
    EVERYTHING,
    Kind,
    Webhook,
    create_webhook,
    delete_webhook,
    enable_webhook,
    get_webhook,
    list_webhooks,
    rotate_secret,
)

router = APIRouter()
CHOICES = (EVERYTHING, *Kind)
MAX_DESCRIPTION = 200
_PATTERN = "^(" + "|".join(one.replace("*", r"\*").replace(".", r"\.") for one in CHOICES) + ")$"


class WebhookWanted(Strict):
    """A webhook to be made."""

    url: str = Field(
        description=f"a text of at most {MAX_URL} characters",
        max_length=MAX_URL,
        examples=["https://fleet.example/hook"],
        json_schema_extra={"format": "uri"},
    )
    events: list[Annotated[str, Field(pattern=_PATTERN)]] = Field(
        default=[EVERYTHING],
        min_length=1,
        max_length=len(CHOICES),
        description=f"a list of {', '.join(CHOICES)}",
    )
    description: str | None = Field(
        default=None,
        max_length=MAX_DESCRIPTION,
        description=f"a text of at most {MAX_DESCRIPTION} characters",
    )


@router.post(
    "/webhooks", status_code=201, openapi_extra=described(WebhookWanted), response_model=NewWebhookView
)
async def create_a_webhook(request: Request, caller: Writer) -> Response:
    """Have an address told of what happens. The secret that its messages are signed with is told this once."""
    demand_json(request)
    house: House = request.app.state.house
    wanted = parse_body(WebhookWanted, await read_body(request, LIMIT_BYTES), "webhook-invalid")
    await demand_target(wanted.url, house.settings.webhook_allow)
    made = await house.database.write(_create, caller, wanted)
    return _with_secret(made, 201, {"Location": f"/webhooks/{made.id}"})


@router.get("/webhooks", openapi_extra={"parameters": PAGE}, response_model=WebhooksView)
async def list_all_webhooks(request: Request, caller: Reader) -> Response:
    """List webhooks, newest first, without their secrets."""
    demand_json(request)
    house: House = request.app.state.house
    size, before = query_page_size(request), query_page_token(request, "whk")
    return json_response(await house.database.read(_read_webhooks, caller.tenant, size, before))


@router.get("/webhooks/{webhook_id:id}", response_model=WebhookView)
async def read_webhook(webhook_id: str, request: Request, caller: Reader) -> Response:
    """Read one webhook, without its secret."""
    demand_json(request)
    house: House = request.app.state.house
    return json_response(view_webhook(await house.database.read(_find, caller.tenant, webhook_id)))


@router.post("/webhooks/{webhook_id:id}/enable", response_model=WebhookView)
async def enable_a_webhook(webhook_id: str, request: Request, caller: Writer) -> Response:
    """Have a webhook be told again what happens from now on, after its receiver said that it is gone."""
    demand_json(request)
    house: House = request.app.state.house
    return json_response(view_webhook(await house.database.write(_enable, caller, webhook_id)))


@router.post("/webhooks/{webhook_id:id}/rotate", response_model=NewWebhookView)
async def rotate_a_secret(webhook_id: str, request: Request, caller: Writer) -> Response:
    """Give a webhook another secret, which is told this once; for 24 h messages are signed with both."""
    demand_json(request)
    house: House = request.app.state.house
    return _with_secret(await house.database.write(_rotate, caller, webhook_id), 200)


@router.delete("/webhooks/{webhook_id:id}", status_code=204, response_class=Response)
async def remove_webhook(webhook_id: str, request: Request, caller: Writer) -> Response:
    """Delete a webhook and its deliveries; what is not sent yet is not sent any more."""
    house: House = request.app.state.house
    await house.database.write(_delete, caller, webhook_id)
    return Response(status_code=204)


@router.get(
    "/webhooks/{webhook_id:id}/deliveries", openapi_extra={"parameters": PAGE}, response_model=DeliveriesView
)
async def list_all_deliveries(webhook_id: str, request: Request, caller: Reader) -> Response:
    """List what was or is to be sent to a webhook, newest first, for 30 days."""
    demand_json(request)
    house: House = request.app.state.house
    size, before = query_page_size(request), query_page_token(request, "dlv")
    return json_response(await house.database.read(_read_deliveries, caller.tenant, webhook_id, size, before))


@router.post(
    "/webhooks/{webhook_id:id}/deliveries/{delivery_id:id}/replay",
    status_code=201,
    response_model=DeliveryView,
    responses={409: {"description": "The webhook is disabled"}},
)
async def replay_delivery(webhook_id: str, delivery_id: str, request: Request, caller: Writer) -> Response:
    """Send a message once more, with the same ``webhook-id``, however its delivery ended."""
    demand_json(request)
    house: House = request.app.state.house
    made = await house.database.write(_replay, caller.tenant, webhook_id, delivery_id)
    return json_response(view_delivery(made), 201)


async def demand_target(url: str, allowed: Allowed, resolve: Resolve = resolve_host) -> None:
    """Check that a webhook may be sent there, as far as that can be told now; a host may become known later.

    Raises:
        Refused: ``webhook-url-forbidden``.
    """
    try:
        await find_addresses(read_target(url), allowed, resolve)
    except TargetForbidden as error:
        fault = FieldProblem("/url", "webhook-url-forbidden", str(error))
        raise Refused("webhook-url-forbidden", f"/url: {error}", (fault,)) from None
    except OSError:
        pass


def _create(connection: Connection, caller: Caller, wanted: WebhookWanted) -> Webhook:
    now = now_in(connection)
    made = create_webhook(
        connection,
        caller.tenant,
        url=wanted.url,
        events=wanted.events,
        description=wanted.description,
        now=now,
    )
    caller.note(connection, Action.WEBHOOK_CREATED, target=made.id, now=now)
    return made


def _with_secret(webhook: Webhook, status: int, headers: Mapping[str, str] | None = None) -> Response:
    body = NewWebhookView(**view_webhook(webhook).model_dump(), secret=webhook.secret)
    return json_response(body, status, {**(headers or {}), "Cache-Control": "no-store"})


def _enable(connection: Connection, caller: Caller, webhook_id: str) -> Webhook:
    if enable_webhook(connection, caller.tenant, webhook_id):
        caller.note(connection, Action.WEBHOOK_ENABLED, target=webhook_id, now=now_in(connection))
    return _find(connection, caller.tenant, webhook_id)


def _rotate(connection: Connection, caller: Caller, webhook_id: str) -> Webhook:
    # Of two that rotate at once, the second must see the secret that the first has told.
    one_at_a_time(connection, f"webhooks of {caller.tenant}")
    now = now_in(connection)
    made = rotate_secret(connection, _find(connection, caller.tenant, webhook_id), now=now)
    caller.note(connection, Action.WEBHOOK_ROTATED, target=webhook_id, now=now)
    return made


def _delete(connection: Connection, caller: Caller, webhook_id: str) -> None:
    if not delete_webhook(connection, caller.tenant, webhook_id):
        raise Refused("not-found", "there is no such webhook")
    caller.note(connection, Action.WEBHOOK_DELETED, target=webhook_id, now=now_in(connection))


def _replay(connection: Connection, tenant: str, webhook_id: str, delivery_id: str) -> Delivery:
    webhook = _find(connection, tenant, webhook_id)
    delivery = get_delivery(connection, webhook_id, delivery_id)
    if delivery is None:
        raise Refused("not-found", "there is no such delivery")
    if webhook.disabled_at is not None:
        raise Refused("webhook-disabled", "the webhook is disabled; enable it first")
    return replay(connection, webhook, delivery, now=now_in(connection))


def _find(connection: Connection, tenant: str, webhook_id: str) -> Webhook:
    found = get_webhook(connection, tenant, webhook_id)
    if found is None:
        raise Refused("not-found", "there is no such webhook")
    return found


def _read_webhooks(connection: Connection, tenant: str, size: int, before: str | None) -> WebhooksView:
    found = list_webhooks(connection, tenant, before=before, limit=size + 1)
    page, token = cut(found, size)
    return WebhooksView(webhooks=[view_webhook(one) for one in page], next_page_token=token)


def _read_deliveries(
    connection: Connection, tenant: str, webhook_id: str, size: int, before: str | None
) -> DeliveriesView:
    _find(connection, tenant, webhook_id)
    found = list_deliveries(connection, webhook_id, before=before, limit=size + 1)
    page, token = cut(found, size)
    return DeliveriesView(deliveries=[view_delivery(one) for one in page], next_page_token=token)
