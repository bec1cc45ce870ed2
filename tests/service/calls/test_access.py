"""Keys and webhooks are asked for as the contract has them."""

from typing import Any

import pytest

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
from tests.service.both import Ask, asked_for, both
from tests.service.rude import answer, serving

KEYS: list[tuple[str, tuple[Any, ...], str]] = [
    ("delete_key", ("key_1",), "DELETE /keys/key_1"),
    ("delete_webhook", ("whk_1",), "DELETE /webhooks/whk_1"),
]
KEY = KeyView(
    id="key_1",
    tenant="acme",
    scopes=["read"],
    label=None,
    created_at="2026-01-02T00:00:00Z",
    expires_at=None,
    revoked_at=None,
    last_used_at=None,
)
MADE_KEY = NewKeyView(**KEY.model_dump(), secret="nnf_x")
WEBHOOK = WebhookView(
    id="whk_1",
    url="https://receiver.example",
    events=["*"],
    description=None,
    created_at="2026-01-02T00:00:00Z",
    disabled_at=None,
    disabled_reason=None,
    old_secret_until=None,
)
MADE = NewWebhookView(**WEBHOOK.model_dump(), secret="whsec_x")
DELIVERY = DeliveryView(
    id="dlv_1",
    webhook_id="whk_1",
    message_id="dlv_1",
    event="job.failed",
    state="pending",
    attempts=0,
    created_at="2026-01-02T00:00:00Z",
    last_attempt_at=None,
    next_attempt_at="2026-01-02T00:00:00Z",
    status_code=None,
    error=None,
    replay_of=None,
)
REPLAY = "POST /webhooks/whk_1/deliveries/dlv_1/replay"
WEBHOOKS: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("create_key", ({},), MADE_KEY, "POST /keys"),
    ("create_webhook", ({"url": "x"},), MADE, "POST /webhooks"),
    ("get_webhook", ("whk_1",), WEBHOOK, "GET /webhooks/whk_1"),
    ("enable_webhook", ("whk_1",), WEBHOOK, "POST /webhooks/whk_1/enable"),
    ("rotate_webhook", ("whk_1",), MADE, "POST /webhooks/whk_1/rotate"),
    ("replay_delivery", ("whk_1", "dlv_1"), DELIVERY, REPLAY),
]
PAGES: list[tuple[str, tuple[Any, ...], list[Any], str]] = [
    ("list_keys", (), [KeysView(keys=[KEY], next_page_token=token) for token in ("more", None)], "/keys"),
    (
        "list_webhooks",
        (),
        [WebhooksView(webhooks=[WEBHOOK], next_page_token=token) for token in ("more", None)],
        "/webhooks",
    ),
    (
        "list_deliveries",
        ("whk_1",),
        [DeliveriesView(deliveries=[DELIVERY], next_page_token=token) for token in ("more", None)],
        "/webhooks/whk_1/deliveries",
    ),
]


@both
@pytest.mark.parametrize(("operation", "values", "wanted"), KEYS)
def test_operations_are_sent_as_the_contract_has_them(
    ask: Ask, operation: str, values: tuple[Any, ...], wanted: str
) -> None:
    path, sent, found = asked_for(ask, operation, *values)
    assert path == wanted
    assert sent == (b"{}" if {} in values else b"")
    assert found == (None if "DELETE" in wanted else {"id": "it"})


@both
@pytest.mark.parametrize(("operation", "values", "body", "wanted"), WEBHOOKS)
def test_webhooks_and_deliveries_are_values(
    ask: Ask, operation: str, values: tuple[Any, ...], body: Any, wanted: str
) -> None:
    with serving(answer(body=body.model_dump())) as rude:
        assert ask(rude.url, operation, *values).model_dump() == body.model_dump()
    assert rude.paths == [wanted]


@both
@pytest.mark.parametrize(("operation", "values", "pages", "path"), PAGES)
def test_pages_are_read_one_after_the_other(
    ask: Ask, operation: str, values: tuple[Any, ...], pages: list[Any], path: str
) -> None:
    with serving(*(answer(body=page.model_dump()) for page in pages)) as rude:
        found = ask(rude.url, operation, *values, page_size=1)
    listed = {"list_keys": KEY, "list_webhooks": WEBHOOK, "list_deliveries": DELIVERY}
    assert [one.id for one in found] == [listed[operation].id] * 2
    assert rude.paths == [f"GET {path}?page_size=1", f"GET {path}?page_size=1&page_token=more"]
