import hashlib
from pathlib import Path

import pytest

from service import zoo
from service.errors import SettingInvalid
from service.zoo import find_members, shipped_zoo, usable
from supernet import checkpoint
from supernet.card import CARD_FILE, load_card
from supernet.errors import CheckpointDamaged, DataMissing
from supernet.named import NAMED_FILE, NamedImages
from tests.service.making import write_member


def test_checkpoints_are_found_in_a_folder_of_them_and_named_one_by_one(tmp_path: Path) -> None:
    write_member(tmp_path / "many" / "b", "bags")
    write_member(tmp_path / "many" / "a", "anoraks")
    (tmp_path / "many" / "notes").mkdir()
    one = write_member(tmp_path / "single", "clogs")
    members = find_members([tmp_path / "many", one, tmp_path / "missing"])
    assert [member.card.name for member in members] == ["anoraks", "bags", "clogs"]
    assert members[2].folder == one


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = write_member(tmp_path / "zoo" / "a")
    (folder / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointDamaged, match=r"weights\.safetensors"):
        find_members([tmp_path / "zoo"])


def test_two_checkpoints_of_the_same_name_are_refused(tmp_path: Path) -> None:
    write_member(tmp_path / "x")
    write_member(tmp_path / "y")
    with pytest.raises(SettingInvalid, match="two supernets are named clothes"):
        find_members([tmp_path / "x", tmp_path / "y"])


@pytest.mark.parametrize("named", ["zoo", "zoo/a"])
def test_a_checkpoint_without_its_card_is_damaged_and_not_passed_over(tmp_path: Path, named: str) -> None:
    (write_member(tmp_path / "zoo" / "a") / "card.json").unlink()
    with pytest.raises(CheckpointDamaged, match=r"card\.json cannot be read"):
        find_members([tmp_path / named])


def test_folders_whose_name_starts_with_a_dot_are_passed_over(tmp_path: Path) -> None:
    write_member(tmp_path / "zoo" / "a", "anoraks")
    (write_member(tmp_path / "zoo" / ".a-new") / "card.json").unlink()
    write_member(tmp_path / "zoo" / ".a-old", "anoraks")
    assert [member.card.name for member in find_members([tmp_path / "zoo"])] == ["anoraks"]


def test_every_shipped_checkpoint_is_whole_and_fashion_is_among_them() -> None:
    members = {member.card.name: member for member in find_members([shipped_zoo()])}
    assert {"Sneaker", "Bag"} < set(members["fashion"].card.classes)
    assert members["fashion"].folder == shipped_zoo() / "fashion"


def test_the_weights_file_is_the_one_that_checkpoints_have() -> None:
    assert zoo.WEIGHTS_FILE == checkpoint.WEIGHTS_FILE


def without_images(folder: Path) -> None:
    """Write a checkpoint that takes its images from a data set which is not there."""
    write_member(folder)
    named = NamedImages(data="cifar10", files={"cifar10_train.npz": "0"}, calibration=(0,), validation=(0,))
    content = named.model_dump_json().encode()
    (folder / NAMED_FILE).write_bytes(content)
    card = load_card(folder)
    files = card.files | {NAMED_FILE: hashlib.sha256(content).hexdigest()}
    (folder / CARD_FILE).write_text(card.model_copy(update={"files": files}).model_dump_json())


def test_a_checkpoint_whose_images_are_not_at_hand_is_named(tmp_path: Path) -> None:
    without_images(tmp_path / "zoo" / "clothes")
    with pytest.raises(DataMissing, match=r"clothes takes its images from cifar10_train\.npz"):
        find_members([tmp_path / "zoo"], tmp_path)


def test_a_shipped_checkpoint_whose_images_are_not_at_hand_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_images(tmp_path / "zoo" / "clothes")
    write_member(tmp_path / "zoo" / "shoes", "shoes")
    shipped = tmp_path / "zoo"
    found = find_members([shipped], shipped=shipped)
    assert [member.card.name for member in usable(found)] == ["shoes"]
    assert "cifar10_train.npz (data set" in found[0].lacks
    assert caplog.text == ""
    assert len(usable(find_members([shipped], tmp_path, shipped))) == 1
    assert "cifar10_train.npz" in caplog.text


def test_a_shipped_checkpoint_is_left_out_where_a_file_is_not_the_one_it_was_made_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_images(tmp_path / "zoo" / "clothes")
    write_member(tmp_path / "zoo" / "shoes", "shoes")
    (tmp_path / "cifar10_train.npz").write_bytes(b"something else")
    (lacking, other) = find_members([tmp_path / "zoo"], tmp_path, tmp_path / "zoo")
    assert lacking.lacks.endswith("cifar10_train.npz: is not the file that supernet clothes was made with")
    assert "left out: clothes" in caplog.text
    assert not other.lacks


def test_ones_own_checkpoint_takes_the_place_of_a_shipped_one_that_is_left_out(tmp_path: Path) -> None:
    without_images(tmp_path / "zoo" / "clothes")
    own = write_member(tmp_path / "own" / "clothes", "clothes")
    for folders in ([tmp_path / "zoo", tmp_path / "own"], [tmp_path / "own", tmp_path / "zoo"]):
        (member,) = find_members(folders, shipped=tmp_path / "zoo")
        assert member.folder == own
        assert not member.lacks
