"""Images that a checkpoint only names are found at hand, and are the very ones."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.errors import CheckpointDamaged, DataInvalid, DataMissing
from supernet.named import NAMED_FILE, NamedImages, check_files, data_at_hand, file_digest, load_named

# Of "abc". Source: FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
NAMED = NamedImages(
    data="pets", files={"pets_train.npz": ABC, "pets_test.npz": ABC}, calibration=(3, 1), validation=(0,)
)


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """A folder with the data set that is named."""
    folder = tmp_path / "sets"
    folder.mkdir()
    for name in NAMED.files:
        (folder / name).write_bytes(b"abc")
    return folder


def test_what_a_checkpoint_names_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / NAMED_FILE).write_text(NAMED.model_dump_json())
    assert load_named(tmp_path) == NAMED


@pytest.mark.parametrize(
    "change", [{"files": {}}, {"calibration": None}, {"calibration": [1.5]}, {"more": 1}, {"data": None}]
)
def test_a_file_that_does_not_name_images_is_damage(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / NAMED_FILE).write_text(json.dumps({**NAMED.model_dump(mode="json"), **change}))
    with pytest.raises(CheckpointDamaged, match="does not name images"):
        load_named(tmp_path)


def test_a_missing_file_of_names_is_damage(tmp_path: Path) -> None:
    with pytest.raises(CheckpointDamaged, match=rf"{tmp_path.name} is damaged: images\.json"):
        load_named(tmp_path)


def test_a_data_set_is_at_hand_when_all_its_files_are(datasets: Path) -> None:
    assert data_at_hand(Path("zoo/pets"), NAMED, datasets) == datasets / "pets"


@pytest.mark.parametrize("lost", NAMED.files)
def test_a_data_set_of_which_a_file_is_lost_is_missing(datasets: Path, lost: str) -> None:
    (datasets / lost).unlink()
    (datasets / lost).mkdir()
    with pytest.raises(DataMissing) as caught:
        data_at_hand(Path("zoo/pets"), NAMED, datasets)
    assert (caught.value.files, caught.value.folder) == (tuple(NAMED.files), datasets)


def test_what_is_missing_is_told_with_its_source_and_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as caught:
        data_at_hand(Path("zoo/pets"), NAMED, tmp_path, "data set pets: Someone, Pictures of pets, 2009")
    told = str(caught.value)
    for part in (
        *NAMED.files,
        "(data set pets: Someone, Pictures of pets, 2009)",
        "sha256",
        f"NNF_DATASETS is {tmp_path}",
    ):
        assert part in told


def test_without_a_folder_of_data_sets_every_one_is_missing() -> None:
    with pytest.raises(DataMissing, match="NNF_DATASETS is not set"):
        data_at_hand(Path("zoo/pets"), NAMED, None)


@pytest.mark.parametrize("changed", NAMED.files)
def test_one_other_file_makes_it_another_data_set(datasets: Path, changed: str) -> None:
    check_files(Path("zoo/pets"), NAMED, datasets)
    (datasets / changed).write_bytes(b"abd")
    with pytest.raises(DataInvalid, match="not the file that supernet pets was made with") as caught:
        check_files(Path("zoo/pets"), NAMED, datasets)
    assert caught.value.path == datasets / changed


def test_the_digest_of_a_file_is_its_sha256(datasets: Path) -> None:
    assert file_digest(datasets / "pets_train.npz") == ABC


@given(st.lists(st.integers(0, 10**6)), st.lists(st.integers(0, 10**6)))
def test_names_come_back_from_json(calibration: list[int], validation: list[int]) -> None:
    named = NAMED.model_copy(update={"calibration": (*calibration,), "validation": (*validation,)})
    assert NamedImages.model_validate_json(named.model_dump_json()) == named
