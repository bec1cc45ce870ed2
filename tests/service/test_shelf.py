"""Supernets come, change and go while the service runs."""

import logging
import shutil
from pathlib import Path

import pytest

from service.shelf import Shelf
from supernet.errors import CheckpointDamaged
from tests.service.making import write_member


def names(shelf: Shelf) -> list[str]:
    return [member.card.name for member in shelf.members]


def test_a_new_checkpoint_is_found_once(tmp_path: Path) -> None:
    write_member(tmp_path / "a", "anoraks")
    shelf = Shelf([tmp_path], None)
    assert not shelf.look()
    write_member(tmp_path / "b", "bags")
    assert shelf.look()
    assert names(shelf) == ["anoraks", "bags"]
    assert not shelf.look()


def test_a_changed_checkpoint_is_read_again(tmp_path: Path) -> None:
    write_member(tmp_path / "a", "anoraks")
    shelf = Shelf([tmp_path], None)
    write_member(tmp_path / "a", "aprons")
    assert shelf.look()
    assert names(shelf) == ["aprons"]


def test_one_that_is_gone_is_let_go_of_but_not_while_it_is_replaced(tmp_path: Path) -> None:
    write_member(tmp_path / "a", "anoraks")
    shelf = Shelf([tmp_path], None)
    (tmp_path / "a").rename(tmp_path / ".a.old")
    assert not shelf.look()
    (tmp_path / ".a.old").rename(tmp_path / "a")
    assert not shelf.look()
    shutil.rmtree(tmp_path / "a")
    assert not shelf.look()
    assert shelf.look()
    assert shelf.members == ()


def test_one_that_becomes_damaged_is_told_of_once_and_kept_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_member(tmp_path / "a", "anoraks")
    shelf = Shelf([tmp_path], None)
    whole = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(b"torn")
    write_member(tmp_path / "b", "bags")
    with caplog.at_level(logging.ERROR):
        assert shelf.look()
        assert not shelf.look()
    assert caplog.text.count("weights.safetensors does not match") == 1
    assert names(shelf) == ["anoraks", "bags"]
    assert list(shelf.faults) == [folder]
    (folder / "weights.safetensors").write_bytes(whole)
    assert shelf.look()
    assert shelf.faults == {}


def test_a_half_copied_checkpoint_is_taken_once_it_is_whole(tmp_path: Path) -> None:
    source = write_member(tmp_path / "elsewhere" / "a", "anoraks")
    (tmp_path / "zoo").mkdir()
    shelf = Shelf([tmp_path / "zoo"], None)
    (tmp_path / "zoo" / "a").mkdir()
    shutil.copy(source / "card.json", tmp_path / "zoo" / "a")
    shelf.look()
    assert names(shelf) == []
    shutil.copytree(source, tmp_path / "zoo" / "a", dirs_exist_ok=True)
    assert shelf.look()
    assert names(shelf) == ["anoraks"]


def test_of_two_of_one_name_the_second_is_a_fault(tmp_path: Path) -> None:
    write_member(tmp_path / "a", "anoraks")
    shelf = Shelf([tmp_path], None)
    write_member(tmp_path / "b", "anoraks")
    assert shelf.look()
    assert names(shelf) == ["anoraks"]
    assert "two supernets are named anoraks" in shelf.faults[tmp_path / "b"]


def test_a_damaged_one_stops_the_start_only_where_that_is_strict(tmp_path: Path) -> None:
    (write_member(tmp_path / "a", "anoraks") / "weights.safetensors").write_bytes(b"torn")
    write_member(tmp_path / "b", "bags")
    with pytest.raises(CheckpointDamaged):
        Shelf([tmp_path], None)
    assert names(Shelf([tmp_path], None, strict=False)) == ["bags"]
