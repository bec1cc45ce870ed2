"""What the client's commands share: how they end and what they print."""

import json
import socket
from collections.abc import Callable

import pytest
from typer.testing import Result

from service.commands.talk import printable
from tests.service.commands.running import OPTIONS, run
from tests.service.rude import answer, problem, serving

Run = Callable[..., Result]


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "create"),
        ("models", "create", "nowhere.json"),
        ("models", "create", *OPTIONS, "--label", "x"),
        ("models", "create", *OPTIONS, "--no-wait", "--output", "x"),
        ("models", "create", *OPTIONS, "--output", "/"),
        ("models", "create", "-", "--name", "x"),
        ("models", "get"),
        ("models", "get", ""),
        ("models", "get", "x", "--url", "nowhere"),
        ("models", "get", "x", "--key", "a b"),
        ("models", "download", "art_1", "-o", "/nowhere/x"),
    ],
)
def test_a_command_that_cannot_be_used_so_ends_with_two(ask: Run, arguments: tuple[str, ...]) -> None:
    artifact = answer(206, b"x", ETag=f'"{"0" * 64}"', Content_Range="bytes 0-0/3")
    with serving(artifact) as rude:
        refused = run(rude.url, *arguments, sent=b"[")
    assert refused.exit_code == 2, refused.output
    assert "Traceback" not in refused.output
    assert refused.stdout == ""


def test_where_nobody_listens_it_ends_with_three() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    lost = run(url, "devices", "list", "--retry-s", "0", "--json")
    assert (lost.exit_code, lost.stdout) == (3, "")
    assert lost.stderr.startswith(f"nnfactory: {url} cannot be reached")
    assert lost.stderr.count("\n") == 1


def test_a_problem_is_one_line_with_the_field_and_ends_with_one() -> None:
    with serving(problem(422, "no-limits")) as rude:
        refused = run(rude.url, "models", "create", *OPTIONS)
        as_json = run(rude.url, "models", "create", *OPTIONS, "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "nnfactory: no-limits: it is no-limits; /limits: is missing\n"
    assert json.loads(as_json.stdout)["code"] == "no-limits"


def test_an_answer_that_is_another_one_ends_with_one() -> None:
    with serving(answer(body=b"<html>")) as rude:
        wrong = run(rude.url, "models", "list")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("nnfactory: the answer is not what NN-Factory answers")


def test_a_key_is_sent_and_never_shown() -> None:
    with serving(problem(403, "insufficient-scope")) as rude:
        refused = run(rude.url, "jobs", "list", "--key", "nnf_secret")
        assert "nnf_secret" not in refused.output
    assert rude.asked[0].headers["authorization"] == "Bearer nnf_secret"


def test_what_a_service_says_does_nothing_to_a_terminal() -> None:
    assert printable("a\x1b[31mb\r\n\u202ec") == "a?[31mb???c"
