"""Clients that post scenarios while things fail, and remember what they were told."""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.fleet import TENANTS, Fleet
from tests.service.making import body


@dataclass
class Ledger:
    """What clients were told: jobs by their tenant and key, and every answer that was no success."""

    accepted: dict[tuple[str, str], str] = field(default_factory=dict)
    refused: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    unanswered: int = 0
    doubled: list[tuple[str, str, str, str]] = field(default_factory=list)

    def accept(self, tenant: str, key: str, job_id: str) -> None:
        before = self.accepted.setdefault((tenant, key), job_id)
        if before != job_id:
            self.doubled.append((tenant, key, before, job_id))


def scenario(number: int, **labels: str) -> dict[str, Any]:
    """Return a scenario of which few are equal."""
    return body(limits={"latency_ms": 1 + number / 1000, "size_mb": 1.0}, name=f"n{number}", labels=labels)


def request_of(number: int) -> tuple[str, str, int]:
    """Return who sends the request of a number, with which key, and the number of its scenario.

    Of four, the first two bear the same key and come from both tenants; the last asks for what the first asked for,
    half of the time in the name of the other tenant.
    """
    place, first = number % 4, number - number % 4
    tenant = TENANTS[first // 4 % 2] if place == 3 else TENANTS[place % 2]
    return tenant, f"key-{first if place < 2 else number}", first if place == 3 else number


class Clients:
    """Threads of both tenants that post one scenario after the other, each again, with its key, until it is accepted.

    Each pauses for ``pause_s`` after it.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        threads: int = 3,
        seed: int = 0,
        labels: dict[str, str] | None = None,
        pause_s: float = 0.1,
    ) -> None:
        self.ledger = Ledger()
        self._fleet = fleet
        self._numbers = itertools.count(seed * 1_000_000)
        self._random = random.Random(seed)
        self._labels = labels or {}
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post_all) for _ in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Post nothing new; return when everything that was begun is accepted."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive(), "a scenario was never accepted"

    def _post_all(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                tenant, key, wanted = request_of(next(self._numbers))
                self._post(client, tenant, key, scenario(wanted, **self._labels))
                self._stop.wait(self._pause_s)

    def _post(self, client: httpx.Client, tenant: str, key: str, wanted: dict[str, Any]) -> None:
        headers = {**self._fleet.keys[tenant], "Idempotency-Key": key}
        until = time.monotonic() + 80
        while time.monotonic() < until:
            url = self._fleet.url(self._random.randrange(len(self._fleet.ports)))
            try:
                answer = client.post(f"{url}/models", json=wanted, headers=headers)
            except httpx.HTTPError:
                self.ledger.unanswered += 1
                time.sleep(0.1)
                continue
            if answer.status_code in (201, 202):
                self.ledger.accept(tenant, key, answer.json()["id"])
                return
            self.ledger.refused.append((answer.status_code, dict(answer.headers), answer.json()))
            time.sleep(min(1.0, float(answer.headers.get("retry-after", 1))))
        raise AssertionError(f"{key} was not accepted in 80 s")


@contextmanager
def posting(fleet: Fleet, **options: Any) -> Iterator[Ledger]:
    """Have clients post while something is done."""
    clients = Clients(fleet, **options)
    clients.start()
    try:
        yield clients.ledger
    finally:
        clients.stop()
