"""Operations on keys and webhooks: who may ask, and who is told."""

from service.calls.answers import Sent, fetch, listed, parsed, posted, request
from service.calls.jobs import PAGE_SIZE
from service.calls.steps import Flow, Setup, Stream
from service.schemas import (
    DeliveriesView,
    DeliveryView,
    KeysView,
    KeyView,
    NewKeyView,
    NewWebhookView,
    WebhooksView,
    WebhookView,
)


def create_key(setup: Setup, facts: Sent) -> Flow[NewKeyView]:
    """Make a key and return it; its ``secret`` is told this once.

    Args:
        setup: of the client.
        facts: if wanted ``tenant``, ``scopes``, ``label`` and ``expires_in_s``.
    """
    call = posted("keys", body=facts, repeatable=False)
    return parsed(NewKeyView, (yield from fetch(setup, call)))


def list_keys(setup: Setup, *, page_size: int = PAGE_SIZE) -> Stream[KeyView]:
    """Yield all keys, without their secrets, newest first."""
    return listed(setup, KeysView, lambda page: page.keys, "keys", page_size=page_size)


def delete_key(setup: Setup, key_id: str) -> Flow[None]:
    """Revoke a key."""
    yield from fetch(setup, request("DELETE", "keys", key_id))


def create_webhook(setup: Setup, facts: Sent) -> Flow[NewWebhookView]:
    """Have an address told of what happens, and return the webhook; its ``secret`` is told this once.

    Args:
        setup: of the client.
        facts: ``url``, and if wanted ``events`` and ``description``.
    """
    call = posted("webhooks", body=facts, repeatable=False)
    return parsed(NewWebhookView, (yield from fetch(setup, call)))


def get_webhook(setup: Setup, webhook_id: str) -> Flow[WebhookView]:
    """Return a webhook."""
    return parsed(WebhookView, (yield from fetch(setup, request("GET", "webhooks", webhook_id))))


def list_webhooks(setup: Setup, *, page_size: int = PAGE_SIZE) -> Stream[WebhookView]:
    """Yield all webhooks, newest first."""
    return listed(setup, WebhooksView, lambda page: page.webhooks, "webhooks", page_size=page_size)


def enable_webhook(setup: Setup, webhook_id: str) -> Flow[WebhookView]:
    """Have a webhook that was disabled be told again what happens, and return it."""
    return parsed(WebhookView, (yield from fetch(setup, request("POST", "webhooks", webhook_id, "enable"))))


def rotate_webhook(setup: Setup, webhook_id: str) -> Flow[NewWebhookView]:
    """Give a webhook another ``secret``, told this once, and return it; for 24 h messages are signed with both."""
    call = request("POST", "webhooks", webhook_id, "rotate", repeatable=False)
    return parsed(NewWebhookView, (yield from fetch(setup, call)))


def delete_webhook(setup: Setup, webhook_id: str) -> Flow[None]:
    """Remove a webhook."""
    yield from fetch(setup, request("DELETE", "webhooks", webhook_id))


def list_deliveries(setup: Setup, webhook_id: str, *, page_size: int = PAGE_SIZE) -> Stream[DeliveryView]:
    """Yield what was or is to be sent to a webhook, and how it was taken, newest first."""
    path = ("webhooks", webhook_id, "deliveries")
    return listed(setup, DeliveriesView, lambda page: page.deliveries, *path, page_size=page_size)


def replay_delivery(setup: Setup, webhook_id: str, delivery_id: str) -> Flow[DeliveryView]:
    """Send a message once more, and return its new delivery."""
    call = request("POST", "webhooks", webhook_id, "deliveries", delivery_id, "replay", repeatable=False)
    return parsed(DeliveryView, (yield from fetch(setup, call)))
