"""The courier: sends what stands in the outbox, in every HTTP process, each delivery signed as Standard Webhooks are.

Receivers that are slow keep nobody waiting: each has few connections, and one alone while it does not answer.
"""

import asyncio
import logging
import ssl
import time
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version

import httpx
from sqlalchemy import Connection
from standardwebhooks import Webhook as Signer

from service.calls.patience import retry_after_s
from service.db import Database, is_embedded, now_in
from service.outbox import LEASE_S, Claim, Outcome, claim, due_webhooks, note_outcome
from service.targets import (
    Allowed,
    Resolve,
    Target,
    TargetForbidden,
    find_addresses,
    read_target,
    resolve_host,
)
from service.watch import open_watch

TIMEOUT_S = 10.0
TOTAL_S = 20.0
MOST = 256
MOST_EACH = 4
ADDRESSES = 3
LOOK_S = 0.1
LOOK_AT_SERVER_S = 0.5
AT_LEAST_EVERY_S = 1.0
AGENT = f"nn-factory/{version('nn-factory')}"

log = logging.getLogger(__name__)


class Courier:
    """Sends deliveries until it is cancelled."""

    def __init__(
        self,
        database: Database,
        allowed: Allowed = Allowed(),
        resolve: Resolve = resolve_host,
        *,
        lease_s: float = LEASE_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Prepare to send.

        Args:
            database: with the outbox.
            allowed: inner receivers that may be sent to.
            resolve: from names to addresses.
            lease_s: how long a delivery is claimed for; another process sends it after that.
            timeout_s: a receiver may take so long to connect, and so long to answer.
        """
        self._database = database
        self._sender = Sender(allowed, resolve, timeout_s=timeout_s)
        self._lease_s = lease_s
        self._busy: Counter[str] = Counter()
        self._silent: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()

    async def run(self) -> None:
        """Send what is due, for ever."""
        watch = open_watch(self._database.engine)
        pause_s = LOOK_S if is_embedded(self._database.engine) else LOOK_AT_SERVER_S
        looked_at = 0.0
        try:
            while True:
                changed = watch.changed() or self._freed.is_set()
                if changed or time.monotonic() - looked_at >= AT_LEAST_EVERY_S:
                    looked_at = time.monotonic()
                    self._freed.clear()
                    try:
                        await self.send_due()
                    except Exception:
                        log.exception("deliveries could not be read")
                        await asyncio.sleep(AT_LEAST_EVERY_S)
                await self._wait(pause_s)
        finally:
            watch.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def send_due(self) -> int:
        """Begin to send what is due and there is room for; return how many deliveries that are."""
        due = await self._database.read(_due)
        rooms = self._rooms(due)
        if not rooms:
            return 0
        claims = await self._database.note(_claim, rooms, self._lease_s)
        for one in claims:
            self._busy[one.webhook_id] += 1
            task = asyncio.create_task(self._deliver(one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(claims)

    async def settle(self) -> None:
        """Wait until all that was begun has ended."""
        await asyncio.gather(*self._tasks)

    def _rooms(self, due: list[str]) -> dict[str, int]:
        """Return how many more deliveries may be sent to each; those who have least under way come first."""
        left = MOST - len(self._tasks)
        rooms: dict[str, int] = {}
        for one in sorted(due, key=lambda webhook_id: self._busy[webhook_id]):
            most = 1 if one in self._silent else MOST_EACH
            room = min(most - self._busy[one], left)
            if room > 0:
                rooms[one] = room
                left -= room
        return rooms

    async def _deliver(self, one: Claim) -> None:
        try:
            outcome = await self._send(one)
            if outcome.status is None:
                self._silent.add(one.webhook_id)
            else:
                self._silent.discard(one.webhook_id)
            await self._database.note(_note, one, outcome)
        except Exception:
            # It is sent again when its claim is over.
            log.exception("delivery %s could not be noted", one.id)
        finally:
            self._busy[one.webhook_id] -= 1
            if not self._busy[one.webhook_id]:
                del self._busy[one.webhook_id]
            self._freed.set()

    async def _send(self, one: Claim) -> Outcome:
        """Send a delivery; whatever a receiver thinks of, it counts as a try, of which there are only so many."""
        try:
            return await self._sender.send(one)
        except Exception:
            log.exception("delivery %s could not be sent", one.id)
            return Outcome(error="the message could not be sent, or the answer not be understood")

    async def _wait(self, pause_s: float) -> None:
        """Wait for a while, less if a connection is free again."""
        try:
            async with asyncio.timeout(pause_s):
                await self._freed.wait()
        except TimeoutError:
            pass


class Sender:
    """Sends one message at a time to one address that was looked at; nothing is followed, kept or read."""

    def __init__(self, allowed: Allowed, resolve: Resolve, *, timeout_s: float = TIMEOUT_S) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def send(self, one: Claim) -> Outcome:
        """Send a delivery and return how that ended."""
        try:
            async with asyncio.timeout(TOTAL_S):
                target = read_target(one.url)
                addresses = await find_addresses(target, self._allowed, self._resolve)
                return await self._send(one, target, addresses[:ADDRESSES])
        except TargetForbidden as error:
            return Outcome(error=f"the address {error}")
        except (TimeoutError, httpx.TimeoutException):
            return Outcome(error="the receiver did not answer in time")
        except httpx.HTTPError as error:
            return Outcome(error=_reason(error))
        except OSError:
            return Outcome(error="the host cannot be resolved")

    async def _send(self, one: Claim, target: Target, addresses: list[str]) -> Outcome:
        *others, last = addresses
        for address in others:
            try:
                return await self._send_to(one, target, address)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._send_to(one, target, last)

    async def _send_to(self, one: Claim, target: Target, address: str) -> Outcome:
        now = datetime.now(UTC)
        headers = {
            "Host": target.authority,
            "User-Agent": AGENT,
            "Content-Type": "application/json",
            "Connection": "close",
            "webhook-id": one.message,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Signer(secret).sign(one.message, now, one.body) for secret in one.secrets
            ),
        }
        request = httpx.Request(
            "POST",
            httpx.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
            headers=headers,
            content=one.body.encode(),
            extensions={
                "timeout": httpx.Timeout(self._timeout_s).as_dict(),
                "sni_hostname": target.host,
            },
        )
        response = await self._connections().handle_async_request(request)
        await response.aclose()
        return _outcome(response)

    def _connections(self) -> httpx.AsyncHTTPTransport:
        # Made late: reading the certificates takes a while. No proxy: it would resolve the host once more.
        if self._transport is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            trusted: ssl.SSLContext = httpx.create_ssl_context()
            self._transport = httpx.AsyncHTTPTransport(verify=trusted, trust_env=False, limits=limits)
        return self._transport


def _due(connection: Connection) -> list[str]:
    return due_webhooks(connection, now=now_in(connection))


def _claim(connection: Connection, rooms: dict[str, int], lease_s: float) -> list[Claim]:
    return claim(connection, rooms, now=now_in(connection), lease_s=lease_s)


def _note(connection: Connection, one: Claim, outcome: Outcome) -> None:
    note_outcome(connection, one, outcome, now=now_in(connection))


def _outcome(response: httpx.Response) -> Outcome:
    status = response.status_code
    if 200 <= status < 300:
        return Outcome(status)
    error = f"it was answered with status {status}"
    if 300 <= status < 400:
        error += "; redirects are not followed"
    return Outcome(status, error, retry_after_s(response.headers.get("Retry-After")))


def _reason(error: httpx.HTTPError) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the receiver's certificate cannot be verified"
    if isinstance(error, httpx.ConnectError):
        return "no connection could be made"
    return "the connection broke before there was an answer"
