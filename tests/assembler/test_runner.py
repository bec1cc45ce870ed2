"""The measuring process answers every request to its end, whatever befalls the model."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.assembler.measuring import children

COMMAND = [sys.executable, "-m", "assembler.runner"]
# Forks must not miss threads.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def answered(*requests: dict[str, object]) -> list[dict[str, Any]]:
    """Return all that a fresh process answers to some requests, each with its time limit; it must end by itself."""
    lines = "".join(json.dumps({"timeout_s": 30, **request}) + "\n" for request in requests)
    ended = subprocess.run(
        COMMAND, input=lines, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stderr == ""
    return [json.loads(line) for line in ended.stdout.splitlines()]


@contextmanager
def running() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def send(process: "subprocess.Popen[str]", request: dict[str, object]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"timeout_s": 60, **request}) + "\n")
    process.stdin.flush()


def received(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def fork_of(process: "subprocess.Popen[str]") -> int:
    """Return the fork that works on a request, as soon as there is one."""
    deadline = time.monotonic() + 30
    while not (found := children(process.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def test_requests_are_answered_in_turn_until_there_are_no_more(quick: dict[str, object]) -> None:
    nets = {"do": "nets", "paths": [quick["path"]] * 2, "rounds": [3, 3], "budget_s": 60}
    *rounds, latencies, model = answered({**quick, **nets}, quick)
    assert rounds == [{"round": number, "rounds": 3} for number in (1, 2, 3)]
    assert len(latencies["result"]) == 2
    assert model["result"].keys() == {"latency_ms", "memory_mb"}
    assert min(*latencies["result"], *model["result"].values()) > 0


def test_a_file_that_is_no_model_is_an_error_with_a_reason_and_without_a_path(
    quick: dict[str, object], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    refused, measured = answered({**quick, "path": str(broken)}, quick)
    assert "the file" in refused["error"]
    assert str(tmp_path) not in refused["error"]
    assert "\n" not in refused["error"]
    assert "result" in measured


@pytest.mark.parametrize("change", [{"shape": [3, 16, 16]}, {"do": "dance"}, {"threads": "many"}])
def test_what_cannot_be_done_is_an_error_and_the_next_is_measured(
    quick: dict[str, object], change: dict[str, object]
) -> None:
    refused, measured = answered({**quick, **change}, quick)
    assert refused.keys() == {"error"}
    assert "result" in measured


def test_what_takes_too_long_is_stopped_and_the_next_is_measured(
    quick: dict[str, object], endless: dict[str, object]
) -> None:
    stopped, measured = answered({**endless, "timeout_s": 0.5}, quick)
    assert stopped == {"error": "it did not end within 0.5 s"}
    assert "result" in measured


def test_a_model_that_ends_its_process_is_an_error_and_the_next_is_measured(
    quick: dict[str, object], endless: dict[str, object]
) -> None:
    with running() as process:
        send(process, endless)
        os.kill(fork_of(process), signal.SIGKILL)
        assert received(process) == {"error": "its process ended by signal 9"}
        send(process, quick)
        assert "result" in received(process)


def test_every_model_has_a_process_of_its_own(endless: dict[str, object]) -> None:
    with running() as process:
        forks = []
        for _ in range(2):
            send(process, {**endless, "timeout_s": 0.3})
            forks.append(fork_of(process))
            assert "error" in received(process)
        assert children(process.pid) == []
        assert len({process.pid, *forks}) == 3
