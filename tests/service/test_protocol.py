import asyncio
import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.protocol import ProblemProtocol
from service.sending import ZERO_COPY
from tests.service.child import LARGE_BYTES
from tests.service.making import body, write_member
from tests.service.process import House, running, wait_until


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("house")
    with running(folder / "data", write_member(folder / "zoo" / "clothes").parent) as house:
        yield house


def send(house: House, *parts: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", house.client.base_url.port or 0), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_with_a_problem(house: House, raw: bytes) -> None:
    head, _, content = send(house, raw).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(content)["code"] == "bad-request"


def test_a_chunked_body_over_the_limit_is_refused_with_a_problem(house: House) -> None:
    begin = b"POST /models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head, _, content = send(house, begin, *[chunk] * 40, b"0\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(content)["code"] == "body-too-large"


def test_a_client_that_goes_away_in_the_middle_does_no_harm(house: House) -> None:
    before = house.client.get("/jobs").json()["jobs"]
    with socket.create_connection(("127.0.0.1", house.client.base_url.port or 0)) as connection:
        connection.sendall(b"POST /models HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert house.client.get("/healthz").status_code == 200
    assert house.client.get("/jobs").json()["jobs"] == before


@pytest.fixture(scope="module")
def large(house: House) -> dict[str, Any]:
    """What the service says of a file of 4 MB."""
    job = house.client.post("/models", json=body(name="large"), headers={"prefer": "wait=30"}).json()
    (found,) = job["result"]["artifacts"]
    assert found["bytes"] == LARGE_BYTES
    return dict(found)


def connect(house: House, receive_bytes: int = 65536) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", house.client.base_url.port or 0))
    return connection


def request(large: dict[str, Any], *lines: str) -> bytes:
    return "\r\n".join([f"GET /artifacts/{large['id']} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def receive(connection: socket.socket, most: int = 10**9) -> bytes:
    received = b""
    while len(received) < most and (chunk := connection.recv(65536)):
        received += chunk
    return received


def test_a_download_that_broke_off_goes_on_where_it_ended(house: House, large: dict[str, Any]) -> None:
    path, tag, received = f"/artifacts/{large['id']}", None, b""
    for _ in range(100):
        wanted = {} if tag is None else {"range": f"bytes={len(received)}-", "if-range": tag}
        with house.client.stream("GET", path, headers=wanted) as response:
            assert response.status_code == (200 if tag is None else 206)
            assert int(response.headers["content-length"]) == LARGE_BYTES - len(received)
            tag, before = response.headers["etag"], len(received)
            for chunk in response.iter_raw(65536):
                received += chunk
                if len(received) - before > 700_000:
                    break
        if len(received) == LARGE_BYTES:
            break
    assert hashlib.sha256(received).hexdigest() == large["sha256"]
    beyond = house.client.get(path, headers={"range": f"bytes={len(received)}-", "if-range": tag or ""})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{LARGE_BYTES}")


def test_many_answers_come_over_one_connection_in_their_order(house: House, large: dict[str, Any]) -> None:
    whole = house.client.get(f"/artifacts/{large['id']}").content
    parts = [(0, 0), (1_000_000, 2_999_999), (5, 4), (LARGE_BYTES - 1, LARGE_BYTES - 1)]
    asked = [request(large, f"Range: bytes={first}-{last}") for first, last in parts]
    expected = [whole[first : last + 1] if first <= last else whole for first, last in parts]
    with connect(house) as connection:
        connection.sendall(b"".join(asked) + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        left = receive(connection)
    for content in expected:
        head, _, left = left.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20")
        assert f"content-length: {len(content)}\r\n".encode() in head.lower() + b"\r\n"
        assert left[: len(content)] == content
        left = left[len(content) :]
    assert left.startswith(b"HTTP/1.1 200 ")


def test_an_old_client_gets_the_file_and_then_the_end(house: House, large: dict[str, Any]) -> None:
    with connect(house) as connection:
        connection.sendall(f"GET /artifacts/{large['id']} HTTP/1.0\r\n\r\n".encode())
        head, _, content = receive(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert hashlib.sha256(content).hexdigest() == large["sha256"]


def open_files(house: House) -> int:
    """Return how many files of the store and sockets the service has open; of the database it keeps some."""
    count = 0
    for path in Path(f"/proc/{house.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            link = str(path.readlink())
            count += "/artifacts/" in link or link.startswith("socket:")
    return count


def resident_bytes(house: House) -> int:
    pages = Path(f"/proc/{house.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_fifty_slow_clients_hold_no_copies_and_hold_nobody_up(house: House, large: dict[str, Any]) -> None:
    path = f"/artifacts/{large['id']}"
    house.client.get(path)
    before = resident_bytes(house), open_files(house)
    slow = [connect(house, 4096) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(request(large))
        # All have begun.
        begun = [receive(connection, 1) for connection in slow]
        assert all(one.startswith(b"HTTP/1.1 200 ") for one in begun)
        assert resident_bytes(house) - before[0] < 10 * LARGE_BYTES
        whole = house.client.get(path)
        assert hashlib.sha256(whole.content).hexdigest() == large["sha256"]
        for connection, first in list(zip(slow, begun, strict=True))[:3]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            content = (first + receive(connection)).partition(b"\r\n\r\n")[2]
            assert hashlib.sha256(content[:LARGE_BYTES]).hexdigest() == large["sha256"]
            assert content[LARGE_BYTES:].startswith(b"HTTP/1.1 200 ")
    finally:
        for connection in slow:
            connection.close()
    wait_until(lambda: open_files(house) <= before[1])


def test_fifty_downloads_at_once_all_arrive_whole(house: House, large: dict[str, Any]) -> None:
    digests = []

    def download() -> None:
        with connect(house) as connection:
            connection.sendall(request(large, "Connection: close"))
            content = receive(connection).partition(b"\r\n\r\n")[2]
        digests.append(hashlib.sha256(content).hexdigest())

    threads = [threading.Thread(target=download) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [large["sha256"]] * 50


def served(app: Any, client: Callable[[int], Any], end: bool = False) -> Any:
    """Return what a client found that ran beside a server of this application.

    Args:
        app: an ASGI application.
        client: is given the port.
        end: whether the server ends before its answers do.
    """

    async def run() -> Any:
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: ProblemProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server:
            found = await asyncio.to_thread(client, server.sockets[0].getsockname()[1])
            for task in state.tasks if end else ():
                task.cancel()
            # Whatever became of the client, the answer to it ends, and so does its connection.
            await asyncio.wait_for(asyncio.gather(*state.tasks), 20)
            while state.connections:
                await asyncio.sleep(0.01)
        return found

    return asyncio.run(run())


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return receive(connection)


def begin(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(1) == b"H"
    return connection


def sends(path: Path, announced: int, *parts: tuple[int, int], after: bytes = b"") -> Any:
    """Return an application that answers with parts of a file, offset and count, and then some bytes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert ZERO_COPY in scope["extensions"]
        headers = [(b"content-length", str(announced).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with FileIO(path) as file:
            for offset, count in parts:
                place = {"offset": offset, "count": count, "more_body": True}
                await send({"type": ZERO_COPY, "file": file, **place})
        await send({"type": "http.response.body", "body": after})

    return app


def test_parts_of_files_are_sent_by_the_server_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    answer = served(sends(tmp_path / "file", 7, (7, 3), (1, 2), after=b"ab"), ask)
    assert answer.partition(b"\r\n\r\n")[2] == b"78912ab"


def test_a_file_that_is_shorter_than_was_announced_breaks_the_connection_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")

    def client(port: int) -> bytes:
        try:
            return ask(port)
        except ConnectionError:
            return b""

    answer = served(sends(tmp_path / "file", 20, (0, 18), after=b"ab"), client)
    assert answer.partition(b"\r\n\r\n")[2] in (b"", b"0123456789")
    assert caplog.records == []


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_goes_away_in_the_middle_of_a_file_ends_its_sending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reset: bool
) -> None:
    (tmp_path / "file").write_bytes(bytes(LARGE_BYTES))

    def go_away(port: int) -> None:
        connection = begin(port)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    served(sends(tmp_path / "file", 10 * LARGE_BYTES, *[(0, LARGE_BYTES)] * 10), go_away)
    assert caplog.records == []


def test_a_server_that_ends_drops_files_that_are_still_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(bytes(LARGE_BYTES))
    app = sends(tmp_path / "file", 10 * LARGE_BYTES, *[(0, LARGE_BYTES)] * 10)
    with served(app, begin, end=True) as connection, contextlib.suppress(ConnectionError):
        assert len(receive(connection)) < 10 * LARGE_BYTES
    assert caplog.records == []
