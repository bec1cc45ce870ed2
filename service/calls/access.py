"""Operations on keys and webhooks: who may ask, and who is told."""

from typing import Any

from service.calls.answers import Sent, fetch, parsed_object, posted, request
from service.calls.steps import Flow, Setup


def create_key(setup: Setup, facts: Sent) -> Flow[dict[str, Any]]:
    """Make a key; its ``secret`` is told this once."""
    return parsed_object((yield from fetch(setup, posted("keys", body=facts, repeatable=False))))


def list_keys(setup: Setup) -> Flow[dict[str, Any]]:
    """Return all keys, without their secrets."""
    return parsed_object((yield from fetch(setup, request("GET", "keys"))))


def delete_key(setup: Setup, key_id: str) -> Flow[None]:
    """Revoke a key."""
    yield from fetch(setup, request("DELETE", "keys", key_id))


def create_webhook(setup: Setup, facts: Sent) -> Flow[dict[str, Any]]:
    """Have an address told of what happens, and return the webhook."""
    return parsed_object((yield from fetch(setup, posted("webhooks", body=facts, repeatable=False))))


def list_webhooks(setup: Setup) -> Flow[dict[str, Any]]:
    """Return all webhooks."""
    return parsed_object((yield from fetch(setup, request("GET", "webhooks"))))


def delete_webhook(setup: Setup, webhook_id: str) -> Flow[None]:
    """Remove a webhook."""
    yield from fetch(setup, request("DELETE", "webhooks", webhook_id))


def list_deliveries(setup: Setup, webhook_id: str) -> Flow[dict[str, Any]]:
    """Return what was sent to a webhook, and how it was taken."""
    return parsed_object((yield from fetch(setup, request("GET", "webhooks", webhook_id, "deliveries"))))


def replay_delivery(setup: Setup, webhook_id: str, delivery_id: str) -> Flow[dict[str, Any]]:
    """Send a delivery once more."""
    call = request("POST", "webhooks", webhook_id, "deliveries", delivery_id, "replay", repeatable=False)
    return parsed_object((yield from fetch(setup, call)))
