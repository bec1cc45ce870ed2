"""Keys and webhooks are asked for as the contract has them."""

from typing import Any

import pytest

from tests.service.both import Ask, asked_for, both

CALLS: list[tuple[str, tuple[Any, ...], str]] = [
    ("create_key", ({},), "POST /keys"),
    ("list_keys", (), "GET /keys"),
    ("delete_key", ("key_1",), "DELETE /keys/key_1"),
    ("create_webhook", ({},), "POST /webhooks"),
    ("list_webhooks", (), "GET /webhooks"),
    ("delete_webhook", ("whk_1",), "DELETE /webhooks/whk_1"),
    ("list_deliveries", ("whk_1",), "GET /webhooks/whk_1/deliveries"),
    ("replay_delivery", ("whk_1", "d"), "POST /webhooks/whk_1/deliveries/d/replay"),
]


@both
@pytest.mark.parametrize(("operation", "values", "wanted"), CALLS)
def test_operations_are_sent_as_the_contract_has_them(
    ask: Ask, operation: str, values: tuple[Any, ...], wanted: str
) -> None:
    path, sent, found = asked_for(ask, operation, *values)
    assert path == wanted
    assert sent == (b"{}" if {} in values else b"")
    assert found == (None if "DELETE" in wanted else {"id": "it"})
