import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from assembler import device
from assembler.device import (
    LOCAL,
    Device,
    LatencyFit,
    MemoryFit,
    Profile,
    check_writable,
    is_current,
    load_profile,
    profile_path,
    save_profile,
    this_machine,
)
from assembler.errors import ProfileDamaged, ProfileUnsaved
from assembler.nominal import nominal_profile
from supernet.card import Architecture, Card, DataSource, Figures, Training
from supernet.task import Kind
from tests.shapes import SMALL


@pytest.fixture
def card(shipped: Architecture) -> Card:
    return Card(
        name="clothes",
        kind=Kind.CLASSIFICATION,
        classes=("bag", "coat"),
        architecture=shipped,
        data=DataSource(name="d", licence="MIT", credit="c"),
        training=Training(command="c", seed=0, epochs=1, duration_s=1, machine="m", versions={}),
        figures=Figures(
            dense_accuracy=0.9,
            dense_accuracy_by_class=(0.9, 0.9),
            test_images=2,
            predictor_error=0.01,
            predictor_pairs=2,
        ),
        files={},
    )


@pytest.fixture
def current(profile: Profile, card: Card) -> Profile:
    return profile.model_copy(update={"supernet": card.digest, "machine": this_machine()})


def test_a_saved_profile_is_read_back_equal(profile: Profile, shipped: Architecture, tmp_path: Path) -> None:
    path = save_profile(profile, tmp_path)
    assert path == profile_path(tmp_path, "local", profile.supernet)
    assert load_profile(path, shipped) == profile
    assert load_profile(path, shipped).digest == profile.digest
    assert list(path.parent.iterdir()) == [path]


def test_saving_replaces_the_older_profile(profile: Profile, shipped: Architecture, tmp_path: Path) -> None:
    save_profile(profile, tmp_path)
    later = profile.model_copy(update={"measured_at": datetime(2027, 1, 1, tzinfo=UTC)})
    path = save_profile(later, tmp_path)
    assert load_profile(path, shipped) == later
    assert later.digest != profile.digest


def test_a_save_that_fails_leaves_the_older_profile_whole(
    profile: Profile, shipped: Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_profile(profile, tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProfileUnsaved, match="No space left on device"):
        save_profile(profile.model_copy(update={"threads": 2}), tmp_path)
    assert load_profile(path, shipped) == profile
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a profile"),
        (b"\xff\xfe", "not a profile"),
        (b"[]", "not a profile"),
        (b'{"digest": "00"}', "profile: Field required"),
    ],
)
def test_a_broken_file_is_named_in_one_sentence(
    content: bytes, reason: str, shipped: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "local-1.json"
    path.write_bytes(content)
    with pytest.raises(ProfileDamaged) as caught:
        load_profile(path, shipped)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_damaged(profile: Profile, shipped: Architecture, tmp_path: Path) -> None:
    path = save_profile(profile, tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ProfileDamaged, match="not a profile"):
        load_profile(path, shipped)


def test_a_changed_figure_is_damage(profile: Profile, shipped: Architecture, tmp_path: Path) -> None:
    path = save_profile(profile, tmp_path)
    stored = json.loads(path.read_text())
    stored["profile"]["latency"]["scale"] = 1.03
    path.write_text(json.dumps(stored))
    with pytest.raises(ProfileDamaged, match="do not match its digest"):
        load_profile(path, shipped)


def test_a_folder_that_cannot_be_written_is_named_with_the_reason(profile: Profile, tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list((tmp_path / "profiles").iterdir()) == []
    (tmp_path / "profiles").rmdir()
    (tmp_path / "profiles").write_text("in the way")
    for act in (lambda: check_writable(tmp_path), lambda: save_profile(profile, tmp_path)):
        with pytest.raises(ProfileUnsaved, match=r"cannot be kept in .*profiles: File exists") as caught:
            act()
        assert caught.value.path == tmp_path / "profiles"


def test_a_missing_file_is_damage(shipped: Architecture, tmp_path: Path) -> None:
    with pytest.raises(ProfileDamaged, match="cannot be read"):
        load_profile(tmp_path / "none.json", shipped)


def test_a_table_of_another_shape_is_damage(profile: Profile, shipped: Architecture, tmp_path: Path) -> None:
    path = save_profile(profile, tmp_path)
    other = shipped.model_copy(update={"blocks": shipped.blocks[:-1]})
    with pytest.raises(ProfileDamaged, match="shape of another supernet"):
        load_profile(path, other)


def test_a_fresh_profile_is_current(current: Profile, card: Card) -> None:
    assert is_current(current, card)


@pytest.mark.parametrize(
    "change",
    [
        {"supernet": "1" * 64},
        {"threads": 2},
        {"device": "other"},
        {"machine": this_machine().model_copy(update={"runtime_version": "0.1"})},
        {"machine": this_machine().model_copy(update={"cpu": "another"})},
        {"machine": this_machine().model_copy(update={"isa": ("avx",)})},
    ],
)
def test_a_profile_is_outdated_by_any_change_of_what_it_was_measured_on(
    change: dict[str, object], current: Profile, card: Card
) -> None:
    assert not is_current(current.model_copy(update=change), card)


def test_a_device_with_other_threads_needs_its_own_profile(current: Profile, card: Card) -> None:
    two = Device(name="local", title="two", threads=2, measured_here=True)
    assert not is_current(current, card, two)


def test_this_machine_knows_the_installed_runtime() -> None:
    import onnxruntime

    machine = this_machine()
    assert machine is this_machine()
    assert machine.runtime == LOCAL.runtime == "onnxruntime"
    assert machine.runtime_version == onnxruntime.__version__
    assert machine.cpu
    assert all(device.ISA_FLAGS.fullmatch(flag) for flag in machine.isa)
    assert list(machine.isa) == sorted(set(machine.isa))


@pytest.mark.parametrize("row", [(0.0, 0.2, 0.1), (), (0.0, float("nan")), (0.0, float("inf")), (-0.1, 0.0)])
def test_a_table_that_falls_or_is_no_number_is_refused(row: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        LatencyFit(table=(row,), scale=1, offset_ms=0, margin=0)


def test_negative_coefficients_are_refused() -> None:
    with pytest.raises(ValidationError):
        LatencyFit(table=((0.0, 1.0),), scale=-1, offset_ms=0, margin=0)
    with pytest.raises(ValidationError):
        MemoryFit(base_mb=0, per_size=-1, per_activation=0, margin=0)


def test_a_profile_knows_its_shape(profile: Profile, shipped: Architecture) -> None:
    assert profile.suits(shipped)
    assert not profile.suits(shipped.model_copy(update={"blocks": shipped.blocks[::-1]}))


def test_a_device_name_is_safe_in_a_path() -> None:
    for name in ("../x", "a/b", "", "A", "-a", "a" * 64):
        with pytest.raises(ValidationError):
            Device(name=name, title="t", threads=1, measured_here=False)


def test_a_figure_that_a_profile_does_not_have_leaves_its_digest_alone(profile: Profile) -> None:
    assert profile.shrunk == ()
    facts = json.loads(profile.model_dump_json())
    del facts["shrunk"]
    assert Profile.model_validate_json(json.dumps(facts)).digest == profile.digest


def test_a_copy_has_a_digest_of_its_own() -> None:
    profile = nominal_profile(SMALL)
    known = profile.digest
    slower = profile.model_copy(update={"threads": profile.threads + 1})
    assert slower.digest != known
    assert slower.model_copy(update={"threads": profile.threads}).digest == known == profile.digest
