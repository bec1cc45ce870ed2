"""A house has the shipped supernets and one's own, and leaves the database as it is."""

from pathlib import Path

import pytest

from service.errors import SettingInvalid
from service.house import open_house
from service.migrations import migrate
from service.settings import Settings
from service.zoo import shipped_zoo
from supernet.errors import CheckpointDamaged
from tests.service.making import write_member


def settings_with(tmp_path: Path, *supernets: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", supernets=supernets)


def test_shipped_supernets_and_ones_own_are_in_the_catalogue(tmp_path: Path) -> None:
    own = write_member(tmp_path / "zoo" / "clothes")
    house = open_house(settings_with(tmp_path, own.parent))
    folders = {member.card.name: member.folder for member in house.catalog.members}
    assert folders["clothes"] == own
    assert folders["fashion"] == shipped_zoo() / "fashion"
    house.engine.dispose()


def test_a_supernet_that_comes_later_is_found_without_a_restart(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    house = open_house(settings_with(tmp_path, tmp_path / "zoo"))
    assert not house.catalog.look()
    write_member(tmp_path / "zoo" / "clothes")
    assert house.catalog.look()
    house.engine.dispose()


def test_the_database_is_not_touched_before_it_is_migrated(tmp_path: Path) -> None:
    settings = settings_with(tmp_path)
    house = open_house(settings)
    assert not settings.database_path.exists()
    migrate(house.engine)
    assert settings.database_path.exists()
    house.engine.dispose()


def test_a_supernet_with_the_name_of_a_shipped_one_is_refused(tmp_path: Path) -> None:
    own = write_member(tmp_path / "mine", "fashion")
    with pytest.raises(SettingInvalid, match="two supernets are named fashion"):
        open_house(settings_with(tmp_path, own))


def test_a_damaged_supernet_keeps_the_house_from_opening(tmp_path: Path) -> None:
    own = write_member(tmp_path / "mine")
    (own / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointDamaged, match=r"weights\.safetensors"):
        open_house(settings_with(tmp_path, own))
