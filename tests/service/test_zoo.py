from pathlib import Path

import pytest

from service.errors import SettingInvalid
from service.zoo import find_members, shipped_zoo
from supernet.errors import CheckpointDamaged
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


def test_every_shipped_checkpoint_is_whole() -> None:
    assert {member.folder.parent for member in find_members([shipped_zoo()])} <= {shipped_zoo()}
