import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from service.db import reading, writing
from service.jobs import Job, State, add_job, cancel, get_job, move
from service.outbox import (
    DELAYS_S,
    JITTER,
    MAX_DELAY_S,
    Claim,
    Delivery,
    Outcome,
    Sent,
    claim,
    delay_s,
    due_webhooks,
    forget_deliveries,
    get_delivery,
    is_heard,
    list_deliveries,
    note_outcome,
    replay,
    tell,
)
from service.queue import sweep
from service.removal import delete_model
from service.store import FileStore
from service.tables import deliveries
from service.webhooks import EVERYTHING, Kind, Webhook, create_webhook, get_webhook
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import scenario
from tests.service.publishing import make_model, take

pytestmark = ON_BOTH_DATABASES

FAILURE = Outcome(500, "it was answered with status 500")


def create(
    connection: Connection, tenant: str = "default", events: tuple[str, ...] = (EVERYTHING,)
) -> Webhook:
    return create_webhook(
        connection, tenant, url="https://receiver.example", events=events, description=None, now=1.0
    )


@pytest.fixture
def webhook(engine: Engine) -> Webhook:
    with writing(engine) as connection:
        return create(connection)


def told(connection: Connection, webhook: Webhook, count: int = 1, now: float = 2.0) -> list[Delivery]:
    for number in range(count):
        tell(connection, webhook.tenant, Kind.MODEL_DELETED, {"number": number}, now=now)
    return list_deliveries(connection, webhook.id, limit=count)


def take_one(connection: Connection, webhook: Webhook, now: float = 2.0) -> Claim:
    (found,) = claim(connection, {webhook.id: 1}, now=now, lease_s=10.0)
    return found


def messages(engine: Engine, webhook: Webhook) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        found = list_deliveries(connection, webhook.id, limit=100)
    return [json.loads(one.body) for one in reversed(found)]


def test_the_end_of_a_job_is_told_in_the_transaction_that_ends_it(engine: Engine, webhook: Webhook) -> None:
    with writing(engine) as connection:
        job, hold = take(connection)

    def fail_and_break() -> None:
        with writing(engine) as connection:
            move(connection, job.id, State.FAILED, now=5.0, hold=hold)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_and_break()
    assert messages(engine, webhook) == []
    with writing(engine) as connection:
        assert move(connection, job.id, State.FAILED, now=5.0, hold=hold, error={"code": "internal"})
        assert not move(connection, job.id, State.FAILED, now=5.0, hold=hold)
    (message,) = messages(engine, webhook)
    assert (message["type"], message["timestamp"]) == ("job.failed", "1970-01-01T00:00:05.000Z")
    assert message["data"]["id"] == job.id
    assert (message["data"]["state"], message["data"]["error"]) == ("failed", {"code": "internal"})


def test_every_end_is_told_and_nothing_else(engine: Engine, webhook: Webhook, tmp_path: Any) -> None:
    job = make_model(engine, FileStore(tmp_path), now=1.0)
    with writing(engine) as connection:
        waiting: Job = add_job(connection, scenario(), digest=None, request_id="r", now=1.0)
        late = add_job(connection, scenario(deadline_s=1.0), digest=None, request_id="r", now=1.0)
        cancel(connection, waiting.id, now=1.5)
        sweep(connection, now=3.0)
        delete_model(connection, "default", job.model_id, now=4.0)
    found = messages(engine, webhook)
    assert [one["type"] for one in found] == [
        "job.succeeded",
        "job.cancelled",
        "job.expired",
        "model.deleted",
    ]
    assert [one["data"]["id"] for one in found] == [job.id, waiting.id, late.id, job.model_id]
    assert found[0]["data"]["result"]["artifacts"][0]["id"] == found[3]["data"]["artifacts"][0]
    assert "secret" not in json.dumps(found)


def test_webhooks_are_told_what_they_want_to_hear_of_their_own_tenant(engine: Engine) -> None:
    with writing(engine) as connection:
        every, failures = create(connection), create(connection, events=(Kind.JOB_FAILED,))
        other = create(connection, "zeta")
        assert tell(connection, "default", Kind.MODEL_DELETED, {}, now=2.0) == 1
        assert tell(connection, "default", Kind.JOB_FAILED, {}, now=2.0) == 2
        assert tell(connection, "acme", Kind.JOB_FAILED, {}, now=2.0) == 0
        assert is_heard(connection, "zeta")
        assert not is_heard(connection, "acme")
    assert [len(messages(engine, one)) for one in (every, failures, other)] == [2, 1, 0]


def test_a_claimed_delivery_is_nobody_elses_until_its_time_is_over(engine: Engine, webhook: Webhook) -> None:
    with writing(engine) as connection:
        second, first = told(connection, webhook, 2)
        assert due_webhooks(connection, now=1.0) == []
        assert due_webhooks(connection, now=2.0) == [webhook.id]
        one = take_one(connection, webhook)
        assert (one.id, one.message, one.attempt) == (first.id, first.id, 1)
        assert (one.url, one.secrets, one.body) == (webhook.url, (webhook.secret,), first.body)
        assert take_one(connection, webhook).id == second.id
        assert claim(connection, {webhook.id: 5}, now=11.9) == []
        again = take_one(connection, webhook, now=12.0)
        assert (again.id, again.attempt) == (first.id, 2)
        assert not note_outcome(connection, one, Outcome(200), now=13.0)
        assert note_outcome(connection, again, Outcome(200), now=13.0)
        found = get_delivery(connection, webhook.id, first.id)
    assert found is not None
    assert (found.state, found.attempts, found.next_at, found.status) == (Sent.DELIVERED, 2, None, 200)


def test_a_delivery_is_tried_until_it_is_given_up(engine: Engine, webhook: Webhook) -> None:
    now = 2.0
    with writing(engine) as connection:
        (made,) = told(connection, webhook)
        for number in range(len(DELAYS_S) + 1):
            one = take_one(connection, webhook, now)
            assert note_outcome(connection, one, FAILURE, now=now)
            found = get_delivery(connection, webhook.id, made.id)
            assert found is not None
            assert (found.attempts, found.status, found.error) == (number + 1, 500, FAILURE.error)
            now = found.next_at or now
        assert (found.state, found.next_at) == (Sent.FAILED, None)
        assert due_webhooks(connection, now=1e12) == []
    assert now - 2.0 > sum(DELAYS_S) * (1 - JITTER)


def test_a_receiver_that_is_gone_is_told_nothing_more(engine: Engine, webhook: Webhook) -> None:
    with writing(engine) as connection:
        told(connection, webhook, 3)
        note_outcome(connection, take_one(connection, webhook), Outcome(410, "it is gone"), now=3.0)
        found = list_deliveries(connection, webhook.id, limit=5)
        assert [one.state for one in found] == [Sent.FAILED] * 3
        disabled = get_webhook(connection, "default", webhook.id)
        assert disabled is not None
        assert (disabled.disabled_at, disabled.disabled_reason) == (
            3.0,
            "the receiver said that it is gone (410)",
        )
        assert tell(connection, "default", Kind.JOB_FAILED, {}, now=4.0) == 0
        assert not is_heard(connection, "default")
        assert due_webhooks(connection, now=1e12) == []


@given(st.integers(1, 20), st.none() | st.floats(0, 1e9))
def test_pauses_grow_and_keep_to_what_the_receiver_asks_for(attempt: int, asked_s: float | None) -> None:
    pause_s = delay_s(attempt, asked_s)
    planned_s = DELAYS_S[min(attempt, len(DELAYS_S)) - 1]
    assert pause_s >= min(asked_s or 0.0, MAX_DELAY_S)
    assert pause_s <= max(planned_s * (1 + JITTER), min(asked_s or 0.0, MAX_DELAY_S))
    assert pause_s >= planned_s * (1 - JITTER)


def test_a_delivery_is_replayed_as_the_same_message(engine: Engine, webhook: Webhook) -> None:
    with writing(engine) as connection:
        (made,) = told(connection, webhook)
        note_outcome(connection, take_one(connection, webhook), Outcome(200), now=3.0)
        again = replay(connection, webhook, made, now=4.0)
        assert (again.message, again.replay_of, again.state) == (made.id, made.id, Sent.PENDING)
        assert (again.body, again.event, again.attempts, again.next_at) == (made.body, made.event, 0, 4.0)
        assert take_one(connection, webhook, now=4.0).message == made.id
        assert replay(connection, webhook, again, now=5.0).message == made.id
        assert get_delivery(connection, "whk_1", made.id) is None
        before = list_deliveries(connection, webhook.id, before=again.id, limit=5)
        assert [one.id for one in before] == [made.id]


def test_old_deliveries_are_forgotten(engine: Engine, webhook: Webhook) -> None:
    with writing(engine) as connection:
        told(connection, webhook)
        assert forget_deliveries(connection, before=2.0) == 0
        assert forget_deliveries(connection, before=4e9) == 1
        assert connection.execute(deliveries.select()).all() == []


def test_a_job_whose_end_nobody_hears_is_ended_all_the_same(engine: Engine) -> None:
    with writing(engine) as connection:
        job, hold = take(connection)
        assert move(connection, job.id, State.FAILED, now=5.0, hold=hold)
        found = get_job(connection, job.id)
        assert found is not None
        assert found.done
        assert connection.execute(deliveries.select()).all() == []
