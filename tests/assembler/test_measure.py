"""Measured on the machine that runs the tests, whatever else it does: what must hold even on a busy one."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from assembler.compile.onnx import build
from assembler.cost import cost_of
from assembler.device import LOCAL, Profile, is_current, load_profile, profile_path, save_profile
from assembler.errors import MeasurementFailed, ProfileDamaged, ProfileUnsaved
from assembler.measure import Progress, ensure_profile, measure_model
from assembler.subnet import random_subnet
from supernet.card import Architecture, Card, DataSource, Figures, Training
from supernet.task import Kind
from tests.assembler.measuring import runners
from tests.shapes import SMALL


def card_of(architecture: Architecture) -> Card:
    classes = ("bag", "coat", "shirt")
    return Card(
        name="clothes",
        kind=Kind.CLASSIFICATION,
        classes=classes,
        architecture=architecture,
        data=DataSource(name="d", licence="MIT", credit="c"),
        training=Training(command="c", seed=0, epochs=1, duration_s=1, machine="m", versions={}),
        figures=Figures(
            dense_accuracy=0.9,
            dense_accuracy_by_class=(0.9,) * 3,
            test_images=3,
            predictor_error=0.01,
            predictor_pairs=2,
        ),
        files={},
    )


CARD = card_of(SMALL)


def model(architecture: Architecture, counts: tuple[int, ...]) -> bytes:
    return build(random_subnet(architecture, counts, 3), architecture.input)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def steps(data_dir: Path) -> list[Progress | Profile]:
    return list(ensure_profile(CARD, data_dir))


@pytest.fixture(scope="module")
def measured(steps: list[Progress | Profile]) -> Profile:
    last = steps[-1]
    assert isinstance(last, Profile)
    return last


def test_a_larger_model_takes_longer_and_more_memory(shipped: Architecture) -> None:
    none, every = model(shipped, (0,) * 8), model(shipped, (4, 4, 4, 8, 6, 6, 6, 6))
    small, large = measure_model(none, shipped.input), measure_model(every, shipped.input)
    assert large.latency_ms > 3 * small.latency_ms > 0
    assert large.memory_mb > small.memory_mb + (len(every) - len(none)) / 1e6
    assert large.memory_mb < 12


def test_a_model_measured_again_gives_the_same_figures(shipped: Architecture) -> None:
    content = model(shipped, (2, 2, 2, 4, 3, 3, 3, 3))
    found = [measure_model(content, shipped.input) for _ in range(7)]
    latencies = sorted(one.latency_ms for one in found)
    memories = [one.memory_mb for one in found]
    # A few percent when the machine is left alone; a busy one may spoil the last two.
    assert latencies[4] < 1.15 * latencies[0]
    assert max(memories) < 1.1 * min(memories)


def test_a_file_is_measured_as_its_bytes_are(shipped: Architecture, tmp_path: Path) -> None:
    content = model(shipped, (1,) * 8)
    path = tmp_path / "a model.onnx"
    path.write_bytes(content)
    by_path, by_bytes = measure_model(path, shipped.input), measure_model(content, shipped.input)
    assert by_path.memory_mb == pytest.approx(by_bytes.memory_mb, rel=0.1)


def test_a_tail_percentile_is_not_below_the_median(shipped: Architecture) -> None:
    content = model(shipped, (2,) * 8)
    low = min(measure_model(content, shipped.input, percentile=50).latency_ms for _ in range(3))
    high = min(measure_model(content, shipped.input, percentile=99).latency_ms for _ in range(3))
    assert high > low * 0.98


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a model"])
def test_what_is_no_model_is_an_error(content: bytes) -> None:
    with pytest.raises(MeasurementFailed, match="could not be measured"):
        measure_model(content, SMALL.input)


def test_a_model_for_other_images_is_an_error(shipped: Architecture) -> None:
    with pytest.raises(MeasurementFailed, match="could not be measured"):
        measure_model(model(shipped, (0,) * 8), SMALL.input)


def test_a_profile_foretells_nets_it_has_not_seen(measured: Profile) -> None:
    quality = measured.quality
    assert quality.nets == quality.memory_nets == 12 + 2 * 6  # of the whole image, and of two smaller sides
    # About 1 % and 4 % when the machine is left alone.
    assert quality.latency_mape < 0.15
    assert quality.memory_mape < 0.15
    assert quality.duration_s < 15
    assert measured.latency.margin < 0.5


def test_a_profile_is_of_this_machine_and_supernet(measured: Profile) -> None:
    assert is_current(measured, CARD)
    assert measured.suits(SMALL)
    assert not is_current(measured, card_of(SMALL.model_copy(update={"neck_channels": 16})))


def test_all_modules_cost_more_than_none_by_the_profile(measured: Profile) -> None:
    none, every = (cost_of(SMALL, counts, 3, measured) for counts in ((0, 0, 0), (3, 4, 4)))
    assert 0 < none.latency_ms < every.latency_ms
    assert 0 < none.memory_mb < every.memory_mb


def test_progress_rises_from_start_to_end(steps: list[Progress | Profile]) -> None:
    progress = [step for step in steps if isinstance(step, Progress)]
    assert len(progress) == len(steps) - 1
    assert progress[0].done < 1
    assert progress[-1].done == progress[-1].total
    # The share of the rounds may be corrected once the first has shown how long one takes.
    falls = [a.done - b.done for a, b in itertools.pairwise(progress) if b.done < a.done]
    assert sum(falls) < 5


def test_a_profile_is_measured_once_and_then_read(measured: Profile, data_dir: Path) -> None:
    assert load_profile(profile_path(data_dir, LOCAL.name, CARD.digest), SMALL) == measured
    assert list(ensure_profile(CARD, data_dir)) == [measured]


def test_an_outdated_profile_is_measured_again(measured: Profile, tmp_path: Path) -> None:
    machine = measured.machine.model_copy(update={"runtime_version": "0.9"})
    save_profile(measured.model_copy(update={"machine": machine}), tmp_path)
    *_, last = ensure_profile(CARD, tmp_path)
    assert isinstance(last, Profile)
    assert is_current(last, CARD)
    assert last.measured_at > measured.measured_at
    assert load_profile(profile_path(tmp_path, LOCAL.name, CARD.digest), SMALL) == last


def test_a_damaged_profile_is_named_and_not_replaced(measured: Profile, tmp_path: Path) -> None:
    path = save_profile(measured, tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProfileDamaged, match="not a profile"):
        list(ensure_profile(CARD, tmp_path))
    assert len(path.read_bytes()) == 100


def test_nothing_is_measured_that_could_not_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ProfileUnsaved, match="Not a directory"):
        next(iter(ensure_profile(CARD, tmp_path / "file" / "data")))


def test_measuring_loads_neither_torch_nor_the_runtime_into_the_caller() -> None:
    program = (
        "import sys, assembler.measure, assembler.search\n"
        "found = {'torch', 'onnxruntime'} & set(sys.modules)\n"
        "sys.exit(f'loaded {found}' if found else 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_measurements_share_one_process(shipped: Architecture) -> None:
    content = model(shipped, (2,) * 8)
    measure_model(content, shipped.input)
    before = runners()
    measure_model(content, shipped.input)
    assert runners() == before != []
