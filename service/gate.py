"""The gate: nothing but what is public goes on without a good key, and nothing of a request is read before.

Keys are remembered for half a second, so that one that is revoked is good for no longer than that anywhere.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.audit import Action, Actor, note
from service.auth import REALM, Caller, anyone
from service.db import Database
from service.errors import Refused
from service.keys import USE_S, Key, get_key, key_id_of, note_uses

if TYPE_CHECKING:
    from service.rates import Rates

PUBLIC = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
PUBLIC_FOLDER = "/problems/"
READING = frozenset({"GET", "HEAD"})
REMEMBERED_S = 0.5
MOST_REMEMBERED = 10_000
# Failures are counted, and what was counted is written so often.
SETTLE_S = 60.0
MOST_FAILURES = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed attempts have in common; ``tenant`` and ``key_id`` are set where the key is known."""

    reason: str
    address: str | None
    key_id: str | None = None
    tenant: str | None = None


class Gate:
    """Says who asks, or refuses."""

    def __init__(self, database: Database, *, required: bool) -> None:
        """Open the gate.

        Args:
            database: with the keys.
            required: whether a key is needed; without, everyone is the default tenant.
        """
        self._database = database
        self._required = required
        self._known: dict[str, tuple[Key, float]] = {}
        self._uses: dict[str, float] = {}
        self._failures: Counter[Failure] = Counter()
        self._settled_at = 0.0

    async def admit(self, scope: Scope) -> Caller:
        """Return who sends a request.

        Raises:
            Refused: without a key, or with one that is unknown, expired or revoked; which of these is not said.
        """
        address, request_id = _address(scope), scope["state"]["request_id"]
        if not self._required:
            return anyone(Actor(None, address, request_id))
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            raise self._refusal(Failure("missing", address))
        key = await self._identify(given, address)
        if (key.last_used_at or 0.0) < (now := time.time()) - USE_S:
            self._uses[key.id] = now
        return Caller(key.tenant, frozenset(key.scopes), Actor(key.id, address, request_id))

    async def still_admits(self, caller: Caller) -> bool:
        """Return whether who was let in some while ago would be so now."""
        if caller.actor.key_id is None:
            return True
        key = await self._find(caller.actor.key_id)
        return key is not None and key.is_good(time.time())

    def forget(self, key_id: str) -> None:
        """Look a key up again the next time."""
        self._known.pop(key_id, None)

    async def settle(self, *, at_once: bool = False) -> None:
        """Write the last uses of keys and what failed, if there is anything and the last time is a while ago."""
        now = time.time()
        if not (self._uses or self._failures) or (not at_once and now < self._settled_at + SETTLE_S):
            return
        uses, failures = self._uses, self._failures
        self._uses, self._failures, self._settled_at = {}, Counter(), now
        try:
            await self._database.note(_settle, uses, failures, now)
        except Exception:
            self._uses = {**uses, **self._uses}
            self._failures.update(failures)
            raise

    async def _identify(self, given: list[str], address: str | None) -> Key:
        scheme, _, secret = given[0].partition(" ")
        key_id = key_id_of(secret.strip()) if scheme.lower() == "bearer" and len(given) == 1 else None
        if key_id is None:
            raise self._refusal(Failure("malformed", address))
        key = await self._find(key_id)
        if key is None:
            raise self._refusal(Failure("unknown", address))
        if not key.opens(secret.strip(), time.time()):
            raise self._refusal(Failure("not good", address, key.id, key.tenant))
        return key

    async def _find(self, key_id: str) -> Key | None:
        asked_at = time.monotonic()
        known = self._known.get(key_id)
        if known is not None and asked_at < known[1] + REMEMBERED_S:
            return known[0]
        key = await self._database.read(get_key, key_id)
        if key is not None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[key_id] = key, asked_at
        return key

    def _refusal(self, failure: Failure) -> Refused:
        if failure not in self._failures and len(self._failures) >= MOST_FAILURES:
            failure = Failure(failure.reason, None)
        self._failures[failure] += 1
        missing = failure.reason == "missing"
        detail = "this needs a key: Authorization: Bearer SECRET" if missing else "the key is not good here"
        challenge = REALM if missing else f'{REALM}, error="invalid_token"'
        return Refused("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


class Gatekeeper:
    """Lets requests through the gate, with the caller in their state, as many as a tenant may send."""

    def __init__(
        self, app: ASGIApp, gate: Gate, rates: "Rates | None", is_draining: Callable[[], bool]
    ) -> None:
        self._app = app
        self._gate = gate
        self._rates = rates
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise Refused."""
        if scope["type"] == "http" and not is_public(scope["path"]):
            caller = await self._gate.admit(scope)
            if (traceparent := scope["state"].get("traceparent")) is not None:
                caller = replace(caller, traceparent=traceparent)
            scope["state"]["caller"] = caller
            if scope["method"] not in READING and self._is_draining():
                raise draining()
            if self._rates is not None and (share := await self._rates.take(caller.tenant)) is not None:
                send = _telling(share.headers, send)
        await self._app(scope, receive, send)


def draining() -> Refused:
    """Return what a process that is about to end says to those whom another one can serve."""
    headers = {"Retry-After": "1", "Connection": "close"}
    return Refused("draining", "this process is about to end", headers=headers)


def is_public(path: str) -> bool:
    """Return whether an address needs no key."""
    return path in PUBLIC or path.startswith(PUBLIC_FOLDER)


def _telling(headers: dict[str, str], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            found = MutableHeaders(scope=message)
            for name, value in headers.items():
                found.append(name, value)
        await send(message)

    return send_with_headers


def _settle(connection: Connection, uses: dict[str, float], failures: Counter[Failure], now: float) -> None:
    note_uses(connection, uses)
    for failure, count in failures.items():
        note(
            connection,
            Action.AUTHENTICATION_FAILED,
            Actor(failure.key_id, failure.address),
            tenant=failure.tenant,
            count=count,
            detail=failure.reason,
            now=now,
        )


def _address(scope: Scope) -> str | None:
    """Return where a request comes from; a proxy may say so in any words."""
    client = scope["client"]
    return None if client is None else _normal(client[0])


@lru_cache(1024)
def _normal(address: str) -> str | None:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None
