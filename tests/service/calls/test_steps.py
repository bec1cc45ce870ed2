"""Servers that are not there, are silent, or have no end."""

import socket
import time

import pytest

from service.client import AnswerInvalid, Patience, Unreachable
from tests.service.both import Ask, both
from tests.service.rude import Request, answer, serving


def _endlessly(connection: socket.socket, request: Request) -> None:
    connection.sendall(answer(length=-1))
    while True:
        connection.sendall(b" " * 1_000_000)


def _drop_by_drop(connection: socket.socket, request: Request) -> None:
    connection.sendall(answer(length=10_000))
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


@both
def test_a_place_where_nobody_listens_is_unreachable(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match=f":{port} cannot be reached") as lost:
        ask(f"http://127.0.0.1:{port}", "tasks", patience=Patience(total_s=0.1))
    assert lost.value.unsent


@both
def test_an_answer_without_an_end_is_given_up(ask: Ask) -> None:
    with serving(_endlessly) as rude, pytest.raises(AnswerInvalid, match="larger than"):
        ask(rude.url, "tasks")
    with serving(_drop_by_drop) as rude, pytest.raises(Unreachable, match="does not end"):
        ask(rude.url, "tasks", patience=Patience(total_s=0), silence_s=0.1)


@both
def test_silence_is_given_up(ask: Ask) -> None:
    def be_silent(connection: socket.socket, request: Request) -> None:
        connection.recv(1)

    with serving(be_silent) as rude, pytest.raises(Unreachable):
        ask(rude.url, "tasks", patience=Patience(total_s=0), silence_s=0.1)
