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

from tests.faults.fleet import Fleet
from tests.service.making import body


@dataclass
class Ledger:
    """What clients were told: jobs by their key, and every answer that was no success."""

    accepted: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    unanswered: int = 0
    doubled: list[tuple[str, str, str]] = field(default_factory=list)

    def accept(self, key: str, job_id: str) -> None:
        before = self.accepted.setdefault(key, job_id)
        if before != job_id:
            self.doubled.append((key, before, job_id))


def scenario(number: int, **labels: str) -> dict[str, Any]:
    """Return a scenario of which few are equal."""
    return body(limits={"latency_ms": 1 + number / 1000, "size_mb": 1.0}, name=f"n{number}", labels=labels)


class Clients:
    """Threads that post one scenario after the other; each is sent again, with its key, until it is accepted."""

    def __init__(
        self, fleet: Fleet, *, threads: int = 3, seed: int = 0, labels: dict[str, str] | None = None
    ) -> None:
        self.ledger = Ledger()
        self._fleet = fleet
        self._numbers = itertools.count(seed * 1_000_000)
        self._random = random.Random(seed)
        self._labels = labels or {}
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
                number = next(self._numbers)
                # One in four asks for what was asked for before.
                wanted = scenario(number - number % 4 if number % 4 == 3 else number, **self._labels)
                self._post(client, f"key-{number}", wanted)
                time.sleep(0.02)

    def _post(self, client: httpx.Client, key: str, wanted: dict[str, Any]) -> None:
        until = time.monotonic() + 80
        while time.monotonic() < until:
            url = self._fleet.url(self._random.randrange(len(self._fleet.ports)))
            try:
                answer = client.post(f"{url}/models", json=wanted, headers={"Idempotency-Key": key})
            except httpx.HTTPError:
                self.ledger.unanswered += 1
                time.sleep(0.1)
                continue
            if answer.status_code in (201, 202):
                self.ledger.accept(key, answer.json()["id"])
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
