"""Database, Redis and HTTP processes fail while clients post."""

import signal
import time

import httpx

from tests.faults.audit import audit, settle
from tests.faults.clients import Ledger, posting
from tests.faults.fleet import TENANTS, Fleet


def accepted_while(ledger: Ledger, s: float) -> int:
    """Return how many scenarios are accepted in so many seconds from now."""
    before = len(ledger.accepted)
    time.sleep(s)
    return len(ledger.accepted) - before


def test_an_http_process_killed_during_posts_loses_nothing(running: Fleet) -> None:
    with posting(running, seed=10) as ledger:
        for part in running.apis:
            time.sleep(1.5)
            part.kill()
            part.start()
        running.wait_ready(30)
        assert accepted_while(ledger, 1.5) > 0
    settle(running)
    audit(running, ledger)
    assert ledger.unanswered, "nothing was killed"


def test_a_redis_that_forgets_everything_loses_nothing(running: Fleet) -> None:
    assert running.redis is not None
    with posting(running, seed=11, labels={"phase_s": "0.1"}) as ledger:
        time.sleep(1)
        running.redis.flush()
        time.sleep(1)
        running.redis.kill()
        running.redis.start()
        time.sleep(1)
    settle(running)
    audit(running, ledger)
    assert not ledger.refused


def test_while_redis_is_away_scenarios_are_accepted_and_done(running: Fleet) -> None:
    assert running.redis is not None
    running.redis.kill()
    with posting(running, seed=12) as ledger:
        assert accepted_while(ledger, 3) > 5
    settle(running)
    running.redis.start()
    audit(running, ledger)
    assert not ledger.refused


def test_an_outage_of_the_database_is_answered_503_and_over_in_seconds(running: Fleet) -> None:
    key = running.keys[TENANTS[0]]
    with posting(running, seed=13, labels={"phase_s": "0.1"}) as ledger:
        time.sleep(1)
        running.postgres.stop(signal.SIGQUIT)
        time.sleep(2)
        answers = [httpx.get(f"{running.url(n)}/jobs", headers=key, timeout=20) for n in range(2)]
        running.postgres.start()
        assert running.wait_ready(10) < 10
        assert accepted_while(ledger, 2) > 0
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["code"] == "database-unavailable"
        assert "retry-after" in answer.headers
    settle(running)
    audit(running, ledger)
    assert ledger.refused
    assert all(part.alive for part in (*running.apis, *running.workers)), (
        "a process did not survive the outage"
    )
