"""Commands on webhooks, asked of the real service."""

from collections.abc import Callable

from typer.testing import Result

from tests.service.commands.running import OPTIONS, parsed

Run = Callable[..., Result]
URL = "https://8.8.8.8:9/hook"


def test_a_webhook_is_made_told_and_removed(ask: Run) -> None:
    plain = ask("webhooks", "create", URL, "--event", "model.deleted", "--event", "job.failed")
    webhook_id, secret = plain.stdout.split()
    assert secret.startswith("whsec_")
    listed = parsed(ask("webhooks", "list", "--json"))
    assert (listed[0]["id"], listed[0]["events"]) == (webhook_id, ["model.deleted", "job.failed"])
    assert URL in ask("webhooks", "list").stdout
    rotated = ask("webhooks", "rotate", webhook_id).stdout.strip()
    assert rotated.startswith("whsec_")
    assert rotated != secret
    assert ask("webhooks", "enable", webhook_id).stdout == f"{webhook_id} is enabled\n"
    model_id = parsed(ask("models", "create", *OPTIONS, "--json"))["model_id"]
    assert ask("models", "delete", model_id).exit_code == 0
    (delivery,) = parsed(ask("webhooks", "deliveries", webhook_id, "--json"))
    assert delivery["event"] == "model.deleted"
    again = ask("webhooks", "replay", webhook_id, delivery["id"]).stdout.strip()
    table = ask("webhooks", "deliveries", webhook_id, "--limit", "1").stdout
    assert again in table
    assert delivery["id"] not in table
    assert ask("webhooks", "delete", webhook_id).stdout == f"{webhook_id} is removed\n"
    gone = ask("webhooks", "deliveries", webhook_id)
    assert (gone.exit_code, "not-found" in gone.stderr) == (1, True)


def test_an_address_inside_is_refused_with_the_services_words(ask: Run) -> None:
    refused = ask("webhooks", "create", "http://10.0.0.1/")
    assert refused.exit_code == 1
    assert "webhook-url-forbidden" in refused.stderr
