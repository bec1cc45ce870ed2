import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from standardwebhooks import Webhook as Verifier

from service.courier import MOST_EACH, Courier
from service.db import Database, reading, writing
from service.outbox import DISABLED, Delivery, Sent, list_deliveries, tell
from service.tables import deliveries
from service.targets import Allowed, Resolve
from service.webhooks import Kind, Webhook, create_webhook, get_webhook
from tests.servers import ON_BOTH_DATABASES, free_port
from tests.service.process import ROOT, wait_until
from tests.service.receiver import receiving

pytestmark = ON_BOTH_DATABASES

LOOPBACK = Allowed.parse("127.0.0.0/8")


def create(engine: Engine, url: str) -> Webhook:
    with writing(engine) as connection:
        return create_webhook(connection, "acme", url=url, events=["*"], description=None, now=time.time())


def say(engine: Engine, count: int = 1) -> None:
    with writing(engine) as connection:
        for number in range(count):
            tell(
                connection, "acme", Kind.MODEL_DELETED, {"number": number, "name": "Bücher"}, now=time.time()
            )


def log_of(engine: Engine, webhook: Webhook) -> list[Delivery]:
    with reading(engine) as connection:
        return list_deliveries(connection, webhook.id, limit=1000)


def make_due(engine: Engine) -> None:
    """Have what is to be tried again be tried at once."""
    with writing(engine) as connection:
        pending = update(deliveries).where(deliveries.c.state == Sent.PENDING)
        connection.execute(pending.values(next_at=0.0))


def resolving(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """Return a resolver that gives one answer after the other, and the hosts it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


def run(database: Database, act: Callable[[], Awaitable[None]]) -> None:
    async def do() -> None:
        await act()
        await database.leave_loop()

    asyncio.run(do())


def send_all(database: Database, allowed: Allowed = LOOPBACK, **options: Any) -> None:
    """Send what is due, once."""

    async def act() -> None:
        courier = Courier(database, allowed, **options)
        await courier.send_due()
        await courier.settle()

    run(database, act)


def test_a_message_is_signed_and_its_receivers_words_are_not_kept(database: Database) -> None:
    with receiving() as receiver:
        webhook = create(database.engine, receiver.url(path="/hook?a=b"))
        say(database.engine)
        send_all(database)
    (made,) = log_of(database.engine, webhook)
    assert (made.state, made.attempts, made.status, made.error) == (Sent.DELIVERED, 1, 204, None)
    message = Verifier(webhook.secret).verify(receiver.bodies[0], receiver.headers[0])
    assert message["type"] == "model.deleted"
    assert message["data"] == {"number": 0, "name": "Bücher"}
    headers = {name.lower(): value for name, value in receiver.headers[0].items()}
    assert (headers["webhook-id"], headers["content-type"]) == (made.id, "application/json")
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.paths == ["/hook?a=b"]
    assert webhook.secret not in str(receiver.headers)


def test_a_message_that_failed_is_sent_again_as_the_same_one(database: Database) -> None:
    with receiving(lambda number: (500 if number == 1 else 200, {})) as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine)
        send_all(database)
        (made,) = log_of(database.engine, webhook)
        assert (made.state, made.status, made.error) == (Sent.PENDING, 500, "it was answered with status 500")
        assert made.next_at is not None
        assert 3 < made.next_at - time.time() < 7
        send_all(database)
        assert len(receiver.bodies) == 1
        make_due(database.engine)
        send_all(database)
    (made,) = log_of(database.engine, webhook)
    assert (made.state, made.attempts, made.status) == (Sent.DELIVERED, 2, 200)
    assert receiver.bodies[0] == receiver.bodies[1]
    for headers in receiver.headers:
        Verifier(webhook.secret).verify(receiver.bodies[0], headers)
        assert headers["webhook-id"] == made.id
    assert "secret" not in str(made.error)


def test_whatever_goes_wrong_while_a_message_is_sent_is_a_try_that_counts(database: Database) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise ZeroDivisionError

    webhook = create(database.engine, "https://receiver.example/hook")
    say(database.engine)
    for _ in range(2):
        make_due(database.engine)
        send_all(database, resolve=resolve)
    (made,) = log_of(database.engine, webhook)
    assert (made.state, made.attempts) == (Sent.PENDING, 2)
    assert made.error is not None
    assert "could not be sent" in made.error


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_says_when_it_wants_to_be_asked_again(database: Database, status: int) -> None:
    with receiving(lambda _: (status, {"Retry-After": "1000"})) as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine)
        send_all(database)
    (made,) = log_of(database.engine, webhook)
    assert made.next_at is not None
    assert 990 < made.next_at - time.time() <= 1000


def test_a_redirect_is_not_followed(database: Database) -> None:
    with receiving() as other, receiving(lambda _: (302, {"Location": other.url()})) as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine)
        send_all(database)
    (made,) = log_of(database.engine, webhook)
    assert (made.status, made.error) == (302, "it was answered with status 302; redirects are not followed")
    assert other.bodies == []


def test_a_receiver_that_is_gone_is_told_nothing_more(database: Database) -> None:
    with receiving(lambda _: (410, {})) as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine)
        send_all(database)
        say(database.engine)
        send_all(database)
    assert len(receiver.bodies) == 1
    with reading(database.engine) as connection:
        found = get_webhook(connection, "acme", webhook.id)
    assert found is not None
    assert found.disabled_reason == DISABLED


def test_a_receiver_that_does_not_answer_is_given_up_for_now(database: Database) -> None:
    free = threading.Event()

    def hang(_: int) -> tuple[int, dict[str, str]]:
        free.wait(20)
        return 204, {}

    with receiving(hang) as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine)
        begun = time.monotonic()
        send_all(database, timeout_s=0.3)
        assert time.monotonic() - begun < 5
        free.set()
    (made,) = log_of(database.engine, webhook)
    assert (made.state, made.status, made.error) == (
        Sent.PENDING,
        None,
        "the receiver did not answer in time",
    )


def test_nobody_listening_and_no_such_host_are_told_apart(database: Database) -> None:
    webhook = create(database.engine, f"http://127.0.0.1:{free_port()}/")
    say(database.engine)
    send_all(database)
    assert log_of(database.engine, webhook)[0].error == "no connection could be made"

    async def fail(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    webhook = create(database.engine, "http://receiver.example/")
    say(database.engine)
    send_all(database, resolve=fail)
    assert log_of(database.engine, webhook)[0].error == "the host cannot be resolved"


def test_a_name_that_comes_to_mean_an_inner_address_is_not_sent_to(database: Database) -> None:
    for answer in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"]):
        resolve, asked = resolving(answer)
        with receiving() as receiver:
            webhook = create(database.engine, receiver.url("receiver.example"))
            say(database.engine)
            send_all(database, Allowed(), resolve=resolve)
        assert receiver.bodies == []
        assert asked[0] == "receiver.example"
        error = log_of(database.engine, webhook)[0].error
        assert error == "the address must be the address of a host in the public network"


def test_the_connection_is_made_to_the_address_that_was_looked_at(database: Database) -> None:
    resolve, asked = resolving(["127.0.0.1"], ["10.0.0.1"])
    with receiving() as receiver:
        webhook = create(database.engine, receiver.url("receiver.example"))
        say(database.engine)
        send_all(database, resolve=resolve)
    assert asked == ["receiver.example"]
    assert log_of(database.engine, webhook)[0].state is Sent.DELIVERED
    assert receiver.headers[0]["Host"] == f"receiver.example:{receiver.port}"


def test_another_address_of_a_host_is_tried_where_nobody_listens(database: Database) -> None:
    resolve, _ = resolving(["127.0.0.2", "127.0.0.1"])
    with receiving() as receiver:
        webhook = create(database.engine, receiver.url("receiver.example"))
        say(database.engine)
        send_all(database, resolve=resolve)
    assert log_of(database.engine, webhook)[0].state is Sent.DELIVERED


def test_a_receiver_that_hangs_keeps_nobody_else_waiting(database: Database) -> None:
    free = threading.Event()

    def hang(_: int) -> tuple[int, dict[str, str]]:
        free.wait(30)
        return 204, {}

    with receiving(hang) as slow, receiving() as quick:
        create(database.engine, slow.url())
        other = create(database.engine, quick.url())
        say(database.engine, 30)

        async def act() -> None:
            task = asyncio.create_task(Courier(database, LOOPBACK).run())
            until = time.monotonic() + 8
            while len(quick.bodies) < 30 and time.monotonic() < until:
                await asyncio.sleep(0.02)
            assert len(slow.bodies) == MOST_EACH
            # The last answers are noted.
            await asyncio.sleep(0.3)
            free.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(database, act)
    assert len(quick.bodies) == 30
    assert {one.state for one in log_of(database.engine, other)} == {Sent.DELIVERED}


def test_two_processes_share_the_work(database: Database) -> None:
    with receiving() as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine, 40)

        async def act() -> None:
            tasks = [asyncio.create_task(Courier(database, LOOPBACK).run()) for _ in range(2)]
            until = time.monotonic() + 20
            while len(receiver.bodies) < 40 and time.monotonic() < until:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        run(database, act)
    assert sorted(json.loads(body)["data"]["number"] for body in receiver.bodies) == list(range(40))
    assert {one.attempts for one in log_of(database.engine, webhook)} == {1}


COURIER = """
import asyncio, sys
from sqlalchemy import make_url
from service.courier import Courier
from service.db import Database
from service.targets import Allowed
database = Database(make_url(sys.argv[1]))
asyncio.run(Courier(database, Allowed.parse("127.0.0.1"), lease_s=1.0).run())
"""


def start_courier(engine: Engine) -> subprocess.Popen[bytes]:
    url = engine.url.set(drivername=engine.url.get_backend_name()).render_as_string(hide_password=False)
    return subprocess.Popen([sys.executable, "-c", COURIER, url], cwd=ROOT)


def test_a_message_whose_process_is_killed_before_it_was_noted_is_sent_again(database: Database) -> None:
    hang = threading.Event()

    def answer(number: int) -> tuple[int, dict[str, str]]:
        if number == 1:
            hang.wait(30)
        return 204, {}

    with receiving(answer) as receiver:
        webhook = create(database.engine, receiver.url())
        say(database.engine)
        first = start_courier(database.engine)
        wait_until(lambda: receiver.bodies)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        hang.set()
        (made,) = log_of(database.engine, webhook)
        assert (made.state, made.attempts) == (Sent.PENDING, 1)
        second = start_courier(database.engine)
        wait_until(lambda: log_of(database.engine, webhook)[0].state is Sent.DELIVERED)
        second.kill()
        second.wait()
    assert receiver.bodies[0] == receiver.bodies[1]
    assert len({headers["webhook-id"] for headers in receiver.headers}) == 1
    assert log_of(database.engine, webhook)[0].attempts == 2


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@pytest.mark.parametrize(("host", "error"), [("receiver.example", None), ("other.example", "verified")])
def test_a_certificate_must_be_of_the_host_though_an_address_is_connected_to(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, error: str | None
) -> None:
    key, certificate = make_certificate(tmp_path, "receiver.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _, name, __: names.append(name)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    webhook = create(database.engine, f"https://{host}:{server.server_port}/")
    say(database.engine)
    resolve, _ = resolving(["127.0.0.1"])
    send_all(database, resolve=resolve)
    server.shutdown()
    server.server_close()
    thread.join()
    assert names == [host]
    (made,) = log_of(database.engine, webhook)
    assert (made.state is Sent.DELIVERED) == (error is None)
    assert error is None or error in str(made.error)
