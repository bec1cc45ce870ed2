"""The measuring process is there when it is needed, replaced when it is lost, and gone with its owner."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assembler.errors import MeasurementFailed
from assembler.meter import Meter
from tests.assembler.measuring import children, runners


@pytest.fixture(scope="module")
def shared() -> Iterator[Meter]:
    with Meter() as meter:
        yield meter


def newest() -> int:
    """The measuring process of this test: the newest one."""
    return runners()[-1]


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kill_soon(find: Callable[[], int | None]) -> threading.Thread:
    """Kill the process that ``find`` returns, as soon as there is one."""

    def work() -> None:
        for _ in range(500):
            time.sleep(0.02)
            found = find()
            if found:
                time.sleep(0.1)
                os.kill(found, signal.SIGKILL)
                return

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_model_is_measured_again_and_again(quick: dict[str, object], shared: Meter) -> None:
    results = [list(shared.ask(quick, timeout_s=30))[-1]["result"] for _ in range(3)]
    assert all(0 < one["latency_ms"] < 50 for one in results)
    memory = [one["memory_mb"] for one in results]
    assert max(memory) - min(memory) < 0.3


def test_what_cannot_be_measured_is_an_error_and_the_next_is_measured_by_the_same_process(
    quick: dict[str, object],
) -> None:
    with Meter() as meter:
        list(meter.ask(quick, timeout_s=30))
        before = newest()
        with pytest.raises(MeasurementFailed, match="could not be measured"):
            list(meter.ask({**quick, "shape": [3, 16, 16]}, timeout_s=30))
        assert list(meter.ask(quick, timeout_s=30))
        assert newest() == before


def test_a_lost_process_is_an_error_and_then_replaced(
    quick: dict[str, object], endless: dict[str, object]
) -> None:
    with Meter() as meter:
        list(meter.ask(quick, timeout_s=30))
        before = newest()
        forks: list[int] = []

        def once_it_works() -> int | None:
            forks.extend(children(before))
            return before if forks else None

        killer = kill_soon(once_it_works)
        with pytest.raises(MeasurementFailed, match="was lost"):
            list(meter.ask(endless, timeout_s=60))
        killer.join()
        assert list(meter.ask(quick, timeout_s=30))
        assert newest() != before
        assert not any(alive(fork) for fork in forks)


def test_a_process_lost_between_two_models_is_replaced_without_an_error(quick: dict[str, object]) -> None:
    with Meter() as meter:
        list(meter.ask(quick, timeout_s=30))
        os.kill(newest(), signal.SIGKILL)
        time.sleep(0.2)
        assert list(meter.ask(quick, timeout_s=30))


def test_an_answer_nobody_waits_for_is_not_taken_for_the_next(quick: dict[str, object]) -> None:
    nets = {**quick, "do": "nets", "paths": [quick["path"]] * 2, "rounds": [50, 50], "budget_s": 60}
    with Meter() as meter:
        asked = meter.ask(nets, timeout_s=60)
        assert next(asked) == {"round": 1, "rounds": 50}
        asked.close()
        assert "latency_ms" in list(meter.ask(quick, timeout_s=30))[-1]["result"]


def test_closing_ends_the_process(quick: dict[str, object]) -> None:
    meter = Meter()
    list(meter.ask(quick, timeout_s=30))
    process = newest()
    meter.close()
    meter.close()
    assert not alive(process)


def test_the_process_ends_with_its_owner(quick: dict[str, object]) -> None:
    program = (
        "import json, sys, os\n"
        "from assembler.meter import Meter\n"
        "meter = Meter()\n"
        "list(meter.ask(json.loads(sys.argv[1]), timeout_s=30))\n"
        "print(meter._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, json.dumps(quick)], capture_output=True, timeout=60
    )
    process = int(ended.stdout)
    deadline = time.monotonic() + 10
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process)


def test_the_process_is_small_and_single_threaded(quick: dict[str, object]) -> None:
    with Meter() as meter:
        list(meter.ask(quick, timeout_s=30))
        maps = Path(f"/proc/{newest()}/maps").read_text()
        status = Path(f"/proc/{newest()}/status").read_text()
    assert "onnxruntime" in maps
    assert "torch" not in maps
    assert "Threads:\t1\n" in status
