import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.making import write_member
from tests.service.process import House, running


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
    with socket.create_connection(("127.0.0.1", house.client.base_url.port or 0)) as connection:
        connection.sendall(b"POST /models HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert house.client.get("/healthz").status_code == 200
    assert house.client.get("/jobs").json()["jobs"] == []
