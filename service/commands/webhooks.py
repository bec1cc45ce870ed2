"""Commands on webhooks: who is told what happens, and how that went."""

import itertools
from typing import Annotated

import typer

from service.commands.talk import CODES_HELP, Talk, answered, given, open_talk

webhooks = typer.Typer(no_args_is_help=True, help="Addresses that are told what happens.", epilog=CODES_HELP)

WebhookId = Annotated[str, typer.Argument(help="Id of a webhook, whk_...")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


@webhooks.command()
@answered
@given("talk", open_talk)
def create(
    talk: Talk,
    target: Annotated[
        str, typer.Argument(metavar="URL", help="Where messages are posted to, http or https.")
    ],
    event: Annotated[
        list[str] | None, typer.Option(help="What to tell of; may be repeated. Default: everything.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
) -> int:
    """Have an address told of what happens; the secret is shown this once."""
    facts = {"url": target, "events": event or ["*"], "description": description}
    made = talk.client.create_webhook(facts)
    talk.give(made, lambda: print(f"{made.id}\n{made.secret}"))
    return 0


@webhooks.command("list")
@answered
@given("talk", open_talk)
def list_webhooks(talk: Talk, limit: Limit = 50) -> int:
    """List webhooks, newest first."""
    found = list(itertools.islice(talk.client.list_webhooks(page_size=min(limit, 200)), limit))
    rows = [
        (one.id, one.url, ", ".join(one.events), one.disabled_reason or "", one.description or "")
        for one in found
    ]
    heads = ("webhook", "url", "events", "disabled", "description")
    talk.give(found, lambda: talk.table(heads, rows))
    return 0


@webhooks.command()
@answered
@given("talk", open_talk)
def enable(talk: Talk, webhook_id: WebhookId) -> int:
    """Have a webhook whose receiver said that it is gone be told again what happens."""
    found = talk.client.enable_webhook(webhook_id)
    talk.give(found, lambda: print(f"{found.id} is enabled"))
    return 0


@webhooks.command()
@answered
@given("talk", open_talk)
def rotate(talk: Talk, webhook_id: WebhookId) -> int:
    """Give a webhook another secret, shown this once; for 24 h messages are signed with the old one too."""
    made = talk.client.rotate_webhook(webhook_id)
    talk.give(made, lambda: print(made.secret))
    return 0


@webhooks.command()
@answered
@given("talk", open_talk)
def delete(talk: Talk, webhook_id: WebhookId) -> int:
    """Remove a webhook; what is not sent yet is not sent any more."""
    talk.client.delete_webhook(webhook_id)
    talk.give({"deleted": webhook_id}, lambda: print(f"{webhook_id} is removed"))
    return 0


@webhooks.command()
@answered
@given("talk", open_talk)
def deliveries(talk: Talk, webhook_id: WebhookId, limit: Limit = 50) -> int:
    """List what was or is to be sent to a webhook, newest first."""
    every = talk.client.list_deliveries(webhook_id, page_size=min(limit, 200))
    found = list(itertools.islice(every, limit))
    rows = [
        (one.id, one.event, one.state, one.attempts, one.next_attempt_at or "", one.error or "")
        for one in found
    ]
    heads = ("delivery", "event", "state", "attempts", "next attempt", "error")
    talk.give(found, lambda: talk.table(heads, rows))
    return 0


@webhooks.command()
@answered
@given("talk", open_talk)
def replay(
    talk: Talk,
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(help="Id of a delivery, dlv_...")],
) -> int:
    """Send a message once more."""
    made = talk.client.replay_delivery(webhook_id, delivery_id)
    talk.give(made, lambda: print(made.id))
    return 0
