import base64
from dataclasses import replace

import pytest
from sqlalchemy import Connection, Engine, select

from service.db import reading, writing
from service.errors import Refused
from service.outbox import Outcome, claim, note_outcome, tell
from service.tables import deliveries
from service.webhooks import (
    EVERYTHING,
    MAX_WEBHOOKS,
    OVERLAP_S,
    Kind,
    Webhook,
    create_webhook,
    delete_webhook,
    enable_webhook,
    forget_old_secrets,
    get_webhook,
    has_old_secrets,
    list_webhooks,
    rotate_secret,
)
from tests.servers import ON_BOTH_DATABASES

pytestmark = ON_BOTH_DATABASES


def create(connection: Connection, tenant: str = "acme", events: tuple[str, ...] = (EVERYTHING,)) -> Webhook:
    return create_webhook(
        connection, tenant, url="https://receiver.example", events=events, description=None, now=1.0
    )


def test_a_webhook_is_its_tenants_and_has_a_secret_of_its_own(engine: Engine) -> None:
    with writing(engine) as connection:
        first, second, other = create(connection), create(connection), create(connection, "zeta")
    assert len({one.secret for one in (first, second, other)}) == 3
    assert len(base64.b64decode(first.secret.removeprefix("whsec_"))) == 32
    with reading(engine) as connection:
        assert list_webhooks(connection, "acme", limit=5) == [second, first]
        assert list_webhooks(connection, "acme", before=second.id, limit=5) == [first]
        assert get_webhook(connection, "acme", first.id) == first
        assert get_webhook(connection, "acme", other.id) is None


def test_a_deleted_webhook_goes_with_its_deliveries(engine: Engine) -> None:
    with writing(engine) as connection:
        made = create(connection)
        tell(connection, "acme", Kind.MODEL_DELETED, {}, now=2.0)
        assert not delete_webhook(connection, "zeta", made.id)
        assert len(connection.execute(select(deliveries)).all()) == 1
        assert delete_webhook(connection, "acme", made.id)
        assert not delete_webhook(connection, "acme", made.id)
        assert connection.execute(select(deliveries)).all() == []


def test_a_rotated_secret_leaves_the_one_before_to_sign_along_for_a_day(engine: Engine) -> None:
    with writing(engine) as connection:
        made = create(connection)
        first = rotate_secret(connection, made, now=2.0)
        assert get_webhook(connection, "acme", made.id) == first
        assert (first.old_secret, first.old_secret_until) == (made.secret, 2.0 + OVERLAP_S)
        second = rotate_secret(connection, first, now=3.0)
        assert (second.old_secret, second.old_secret_until) == (first.secret, 3.0 + OVERLAP_S)
        tell(connection, "acme", Kind.MODEL_DELETED, {}, now=4.0)
        (one,) = claim(connection, {made.id: 1}, now=3.0 + OVERLAP_S - 1, lease_s=1.0)
        assert one.secrets == (second.secret, first.secret)
        (one,) = claim(connection, {made.id: 1}, now=3.0 + OVERLAP_S, lease_s=1.0)
        assert one.secrets == (second.secret,)


def test_a_secret_that_has_signed_along_for_a_day_is_removed(engine: Engine) -> None:
    with writing(engine) as connection:
        made = create(connection)
        rotated = rotate_secret(connection, made, now=2.0)
        ends = 2.0 + OVERLAP_S
        assert not has_old_secrets(connection, now=ends - 1)
        assert forget_old_secrets(connection, now=ends - 1) == 0
        assert has_old_secrets(connection, now=ends)
        assert forget_old_secrets(connection, now=ends) == 1
        assert not has_old_secrets(connection, now=ends)
        kept = get_webhook(connection, "acme", made.id)
        assert kept == replace(rotated, old_secret=None, old_secret_until=None)


def test_a_webhook_is_enabled_by_its_tenant(engine: Engine) -> None:
    with writing(engine) as connection:
        made = create(connection)
        assert not enable_webhook(connection, "acme", made.id)
        tell(connection, "acme", Kind.MODEL_DELETED, {}, now=2.0)
        (one,) = claim(connection, {made.id: 1}, now=2.0)
        note_outcome(connection, one, Outcome(410, "it is gone"), now=3.0)
        assert not enable_webhook(connection, "zeta", made.id)
        assert tell(connection, "acme", Kind.MODEL_DELETED, {}, now=4.0) == 0
        assert enable_webhook(connection, "acme", made.id)
        assert get_webhook(connection, "acme", made.id) == made
        assert tell(connection, "acme", Kind.MODEL_DELETED, {}, now=5.0) == 1


def test_what_a_webhook_is_to_hear_of_is_kept_once(engine: Engine) -> None:
    with writing(engine) as connection:
        made = create(connection, events=(Kind.JOB_FAILED, Kind.JOB_FAILED))
    assert made.events == ["job.failed"]


def test_a_tenant_has_so_many_webhooks_and_no_more(engine: Engine) -> None:
    with writing(engine) as connection:
        for _ in range(MAX_WEBHOOKS):
            create(connection)
        with pytest.raises(Refused, match="too-many-webhooks"):
            create(connection)
        create(connection, "zeta")
