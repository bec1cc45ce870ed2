"""The builder of the worker process, with a small supernet that is measured in a moment."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch

from assembler.artifact import Assembly
from assembler.device import LOCAL, Device, profile_path, save_profile, this_machine
from assembler.errors import ProfileUnsaved, ScenarioInvalid
from assembler.phase import Phase
from assembler.scenario import Limits, Scenario
from service.builder import LocalBuilder, load_builder
from service.catalog import Catalog
from service.devices import Made, Own
from service.errors import Refused, SettingInvalid
from service.settings import Settings
from service.zoo import find_members, shipped_zoo
from supernet.card import load_card
from supernet.checkpoint import file_digests
from supernet.errors import CheckpointDamaged
from tests.commands import nnfactory
from tests.service.making import make_profile
from tests.small import CLASSES, small_checkpoint, small_supernet

SCENARIO = Scenario.model_validate(
    {"task": {"kind": "classification", "classes": ("bee", "ant")}, "limits": {"size_mb": 1.0}}, strict=False
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    small_checkpoint(folder / "small", small_supernet())
    return folder


def settings_with(data_dir: Path, zoo: Path, **changes: str) -> Settings:
    """Return settings with a data folder in which every device is measured."""
    for member in find_members((shipped_zoo(), zoo)):
        save_profile(make_profile(member.card), data_dir)
    return Settings(data_dir=data_dir, supernets=(zoo,), **changes)  # type: ignore[arg-type]


def test_a_model_is_made_out_of_the_supernet_that_knows_the_classes(zoo: Path, tmp_path: Path) -> None:
    builder = load_builder(settings_with(tmp_path, zoo))
    assert builder.digest(SCENARIO).startswith("sha256:")
    *phases, last = builder.build(SCENARIO)
    assert len(phases) >= 3
    assert isinstance(last, Assembly)
    assert last.manifest["classes"] == ["bee", "ant"]
    assert phases[-1] == Phase("bundling")
    assert last.bundle is not None
    with zipfile.ZipFile(io.BytesIO(last.bundle.content)) as archive:
        assert archive.read("model.onnx") == last.content
    assert set(SCENARIO.task.classes) < set(CLASSES)


def test_for_a_device_that_is_elsewhere_nothing_is_timed_here(zoo: Path, tmp_path: Path) -> None:
    builder = load_builder(settings_with(tmp_path, zoo))
    card = load_card(zoo / "small")
    profile = make_profile(card, 3.0).model_copy(update={"device": "pi"})
    pi = Device(name="pi", title="Pi", threads=1, measured_here=False)
    own = Own((Made("dev_1", pi, 0.0, {card.digest: profile}),), ("pi",))
    wanted = SCENARIO.model_copy(
        update={"device": "pi", "limits": Limits(latency_ms=0.2, accuracy_min=0.01, size_mb=1.0)}
    )
    assert builder.digest(wanted, own) != builder.digest(SCENARIO)
    *steps, last = builder.build(wanted, own)
    assert Phase("measuring") not in steps
    assert isinstance(last, Assembly)
    assert last.measured is not None
    assert (last.measured.latency_ms, last.measured.memory_mb) == (None, None)
    assert last.measured.size_mb == len(last.content) / 1e6
    assert last.manifest["device"] == {"name": "pi", "profile": profile.digest}
    assert {check.limit: check.basis.value for check in last.limits_check} == {
        "latency_ms": "profile",
        "accuracy_min": "measured",
        "size_mb": "measured",
    }
    assert last.bundle is not None
    with zipfile.ZipFile(io.BytesIO(last.bundle.content)) as archive:
        assert "foretold by the profile of device pi" in archive.read("MODEL_CARD.md").decode()
    with pytest.raises(ScenarioInvalid, match="no device"):
        builder.digest(wanted)


def test_a_profile_of_another_machine_is_measured_again(zoo: Path, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, zoo)
    card = load_card(zoo / "small")
    machine = this_machine().model_copy(update={"runtime_version": "0.9"})
    path = save_profile(make_profile(card).model_copy(update={"machine": machine}), tmp_path)
    assert path == profile_path(tmp_path, LOCAL.name, card.digest)
    catalog = Catalog(tmp_path, find_members([zoo]))
    assert catalog.profile(LOCAL, card) is None
    load_builder(settings)
    found = catalog.profile(LOCAL, card)
    assert found is not None
    assert found.machine == this_machine()


def test_a_supernet_that_comes_while_the_worker_runs_is_taken_up(zoo: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    builder = load_builder(settings_with(tmp_path / "data", mine))
    with pytest.raises(ScenarioInvalid):
        builder.digest(SCENARIO)
    shutil.copytree(zoo / "small", mine / "small")
    save_profile(make_profile(load_card(mine / "small")), tmp_path / "data")
    assert builder.digest(SCENARIO).startswith("sha256:")
    *_, last = builder.build(SCENARIO)
    assert isinstance(last, Assembly)


def test_a_damaged_supernet_does_not_keep_a_worker_from_starting_again(zoo: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(zoo / "small", mine / "small")
    settings = settings_with(tmp_path / "data", mine)
    (mine / "small" / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointDamaged):
        load_builder(settings)
    with pytest.raises(ScenarioInvalid):
        load_builder(settings, strict=False).digest(SCENARIO)


def with_other_weights(folder: Path) -> None:
    """Give a checkpoint weights of another shape, and a Card that vouches for them."""
    weights = safetensors.torch.save({"head.weight": torch.zeros(3, 3)})
    (folder / "weights.safetensors").write_bytes(weights)
    card = json.loads((folder / "card.json").read_text())
    card["files"]["weights.safetensors"] = file_digests({"": weights})[""]
    (folder / "card.json").write_text(json.dumps(card))


def test_weights_that_do_not_load_stop_the_first_start_and_no_later_one(zoo: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(zoo / "small", mine / "small")
    with_other_weights(mine / "small")
    settings = settings_with(tmp_path / "data", mine)
    with pytest.raises(CheckpointDamaged, match="does not fit the Card"):
        load_builder(settings)
    builder = load_builder(settings, strict=False)
    with pytest.raises(Refused, match="cannot be loaded") as caught:
        builder.build(SCENARIO)
    assert caught.value.code == "internal"


@pytest.mark.parametrize("strict", [True, False])
def test_without_measurements_there_is_no_worker(zoo: Path, tmp_path: Path, strict: bool) -> None:
    settings = settings_with(tmp_path / "data", zoo)
    path = profile_path(settings.data_dir, LOCAL.name, load_card(zoo / "small").digest)
    path.unlink()
    shutil.rmtree(path.parent)
    path.parent.touch()
    with pytest.raises(ProfileUnsaved):
        load_builder(settings, strict=strict)


def test_what_could_not_be_measured_is_measured_later(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, data_dir = tmp_path / "mine", tmp_path / "data"
    mine.mkdir()
    builder = load_builder(settings_with(data_dir, mine))
    shutil.copytree(zoo / "small", mine / "small")
    profiles = profile_path(data_dir, LOCAL.name, "").parent
    kept = profiles.rename(tmp_path / "kept")
    profiles.touch()
    monkeypatch.setattr("service.builder.AGAIN_S", 0.0)
    with pytest.raises(Refused, match="could not be measured"):
        builder.digest(SCENARIO)
    profiles.unlink()
    kept.rename(profiles)
    builder.look()
    assert builder.digest(SCENARIO).startswith("sha256:")
    *_, last = builder.build(SCENARIO)
    assert isinstance(last, Assembly)


def test_without_a_profile_nothing_is_built(zoo: Path, tmp_path: Path) -> None:
    builder = LocalBuilder(Catalog(tmp_path, find_members([zoo])), Settings(data_dir=tmp_path))
    for act in (builder.digest, builder.build):
        with pytest.raises(Refused, match="could not be measured"):
            act(SCENARIO)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_measured(zoo: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", supernets=(zoo,), torch_device="cuda")
    with pytest.raises(SettingInvalid, match="finds no GPU"):
        load_builder(settings)
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_worker_without_its_gpu_ends_with_one_sentence(tmp_path: Path) -> None:
    ended = nnfactory("worker", "--data-dir", "data", cwd=tmp_path, NNF_TORCH_DEVICE="cuda")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("nnfactory: NNF_TORCH_DEVICE is cuda")
    assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_that_is_there_is_taken_and_makes_the_same_models(zoo: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 16, 16)).astype(np.float32)
    answers = []
    for setting in ("cpu", "auto"):
        before = torch.cuda.memory_allocated()
        builder = load_builder(settings_with(tmp_path, zoo, torch_device=setting))
        *_, made = builder.build(SCENARIO)
        assert (torch.cuda.memory_allocated() > before) is (setting == "auto")
        assert isinstance(made, Assembly)
        (answer,) = onnxruntime.InferenceSession(made.content).run(None, {"image": images})
        answers.append(answer)
    np.testing.assert_allclose(*answers, atol=1e-3)


def test_torch_computes_as_exactly_as_models_are_compared(zoo: Path, tmp_path: Path) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    load_builder(settings_with(tmp_path, zoo))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_the_first_head_that_is_fitted_finds_its_solver_loaded(zoo: Path, tmp_path: Path) -> None:
    settings_with(tmp_path, zoo)
    probe = (
        "import sys\n"
        "from pathlib import Path\n"
        "from service.builder import load_builder\n"
        "from service.settings import Settings\n"
        "load_builder(Settings(data_dir=Path(sys.argv[1]), supernets=(Path(sys.argv[2]),)))\n"
        "before = set(sys.modules)\n"
        "import numpy as np\n"
        "from assembler.refit import refit_head\n"
        "draw = np.random.default_rng(1)\n"
        "features, labels = draw.random((64, 8), dtype=np.float32), draw.integers(0, 3, 64)\n"
        "refit_head(features, labels, np.zeros((3, 8), np.float32), np.zeros(3, np.float32))\n"
        "print(len(set(sys.modules) - before))\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", probe, str(tmp_path), str(zoo)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 5
