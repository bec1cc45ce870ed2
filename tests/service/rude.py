"""Servers that misbehave on purpose: plain sockets, told byte by byte what to answer."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a client sent; names of headers are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


# Bytes are sent and the connection is closed; a function writes them itself.
Answer = bytes | Callable[[socket.socket, Request], None]


@dataclass
class Rude:
    """A server, and what it was asked."""

    url: str
    asked: list[Request] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]


def answer(status: int = 200, body: object = b"", length: int | None = None, **headers: str) -> bytes:
    """Return an answer; ``length`` is what it claims where that is not true, -1 for nothing."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    if length != -1:
        named["Content-Length"] = str(len(content) if length is None else length)
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} Word\r\n{head}\r\n".encode() + content


def problem(status: int, code: str, retryable: bool = False, **headers: str) -> bytes:
    body = {
        "type": f"/problems/{code}",
        "title": code,
        "status": status,
        "detail": f"it is {code}",
        "instance": "urn:x",
        "code": code,
        "request_id": "req_1",
        "retryable": retryable,
        "fault": "service",
        "errors": [{"pointer": "/limits", "code": code, "detail": "is missing"}],
    }
    return answer(status, body, **headers)


def cut(connection: socket.socket, request: Request) -> None:
    """Answer nothing."""


@contextmanager
def serving(*answers: Answer) -> Iterator[Rude]:
    """Serve one answer a request, the last one for all further ones."""
    listener = socket.create_server(("127.0.0.1", 0))
    rude = Rude(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=_serve, args=(connection, rude, answers)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield rude
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


def _serve(connection: socket.socket, rude: Rude, answers: tuple[Answer, ...]) -> None:
    with connection:
        connection.settimeout(20)
        request = _read(connection)
        if request is None:
            return
        place = len(rude.asked)
        rude.asked.append(request)
        say = answers[min(place, len(answers) - 1)]
        try:
            if isinstance(say, bytes):
                connection.sendall(say)
            else:
                say(connection, request)
        except OSError:
            return


def _read(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Request(method, path, headers, body)


def made_job(state: str = "succeeded", **changes: Any) -> dict[str, Any]:
    """Return the body of a job."""
    return {
        "id": "job_1",
        "model_id": "mdl_1",
        "state": state,
        "done": state in ("succeeded", "failed", "cancelled", "expired"),
        "phase": None,
        "progress": 0,
        "phases": [],
        "queue": None,
        "attempt": 1,
        "scenario": {},
        "scenario_digest": None,
        "reused_from": None,
        "created_at": "2026-01-02T03:04:05.678Z",
        "started_at": None,
        "finished_at": None,
        "result": None,
        "error": None,
        "links": {},
        **changes,
    }
