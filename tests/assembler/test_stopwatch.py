"""Sessions here are plain stand-ins of the runtime's that take a known time."""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assembler import stopwatch
from assembler.compile.onnx import build
from assembler.stopwatch import (
    measure_nets,
    open_model,
    picture,
    read_code,
    resident_kb,
    time_block,
    time_model,
    turn_runs,
)
from assembler.subnet import random_subnet
from tests.shapes import SMALL


class Timed:
    """Runs that take the given durations in turn, in seconds."""

    def __init__(self, durations: Iterator[float]) -> None:
        self.durations = durations
        self.runs = 0

    def run(self, _: None, __: object) -> None:
        self.runs += 1
        end = time.perf_counter() + next(self.durations)
        while time.perf_counter() < end:
            pass


def always(duration: float) -> Timed:
    return Timed(itertools.repeat(duration))


def test_a_block_gives_the_percentile_asked_for() -> None:
    def durations() -> Iterator[float]:
        return itertools.cycle([0.001, 0.001, 0.001, 0.008])

    assert time_block(Timed(durations()), {}, 20, 50) == pytest.approx(1.0, rel=0.5)
    assert time_block(Timed(durations()), {}, 20, 95) >= 8.0


def test_a_neighbour_that_slows_half_of_the_blocks_does_not_count() -> None:
    # Twice as long as a block, so that some blocks are quick from end to end.
    slow, quick = [0.002] * 18, [0.0005] * 18
    figure = time_model(Timed(itertools.cycle([*slow, *quick])), {}, 50)
    assert figure == pytest.approx(0.5, rel=0.4)


def test_blocks_that_agree_are_enough_and_others_are_repeated_until_patience_ends() -> None:
    calm = always(0.0004)
    time_model(calm, {}, 50)
    quickening = Timed(0.0004 * 0.995**n for n in itertools.count())
    start = time.perf_counter()
    time_model(quickening, {}, 50)
    assert quickening.runs > 2 * calm.runs
    assert time.perf_counter() - start < 5


def test_nothing_more_is_run_once_a_model_is_known_to_be_quick_enough() -> None:
    whole, early, late = always(0.0004), always(0.0004), always(0.0004)
    time_model(whole, {}, 50)
    assert time_model(early, {}, 50, enough_ms=100.0) == pytest.approx(0.4, rel=0.5)
    time_model(late, {}, 50, enough_ms=0.1)
    assert early.runs < 0.7 * whole.runs
    assert late.runs > early.runs


def test_a_high_percentile_takes_more_runs() -> None:
    median, tail = always(0.0002), always(0.0002)
    time_model(median, {}, 50)
    time_model(tail, {}, 99)
    assert tail.runs >= stopwatch.BURSTS * 150 > median.runs


@pytest.mark.parametrize(("duration", "runs"), [(0.00001, 9), (0.0005, 3), (0.02, 3)])
def test_slow_nets_take_fewer_runs_a_turn(duration: float, runs: int) -> None:
    assert turn_runs(always(duration), {}) == runs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    shapes = {"none": (0, 0, 0), "all": (3, 4, 4)}
    for name, counts in shapes.items():
        content = build(random_subnet(SMALL, counts, 5), SMALL.input)
        (folder / f"{name}.onnx").write_bytes(content)
    return {name: folder / f"{name}.onnx" for name in shapes}


def test_nets_are_timed_in_turns_and_rounds_are_told(files: dict[str, Path]) -> None:
    request = {
        "paths": [str(files["none"]), str(files["all"])],
        "shape": [1, 16, 16],
        "threads": 1,
        "rounds": [3, 12],
        "budget_s": 60,
    }
    *rounds, last = measure_nets(request)
    assert rounds == [{"round": n + 1, "rounds": 12} for n in range(12)]
    none, every = last["result"]
    assert 0 < none < every


def test_a_small_budget_ends_after_the_fewest_rounds(files: dict[str, Path]) -> None:
    request = {"paths": [str(files["all"])], "shape": [1, 16, 16], "threads": 1, "rounds": [3, 12]}
    *rounds, _ = measure_nets({**request, "budget_s": 0})
    assert [message["round"] for message in rounds] == [1, 2, 3]
    assert rounds[-1]["rounds"] == 3


def test_a_model_is_fed_pixels_by_the_name_of_its_input(files: dict[str, Path]) -> None:
    session, feed = open_model(str(files["all"]), 1, picture([1, 16, 16]))
    (scores,) = session.run(None, feed)
    assert scores.shape == (1, 5)
    (image,) = feed.values()
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 255


def test_resident_memory_follows_what_is_used() -> None:
    read_code()
    before = resident_kb("VmRSS")
    held = np.ones(20_000_000, np.uint8)
    grown = resident_kb("VmRSS") - before
    assert grown * 1024 == pytest.approx(held.nbytes, rel=0.1)
    assert resident_kb("VmHWM") >= resident_kb("VmRSS") - 1024
    with pytest.raises(OSError, match="VmNothing"):
        resident_kb("VmNothing")


def test_code_that_was_read_is_not_counted_again() -> None:
    # In a process of its own: threads of other tests would count here.
    program = """
from assembler.stopwatch import read_code, resident_kb
read_code()
before = resident_kb("VmRSS")
read_code()
print(abs(resident_kb("VmRSS") - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 512
