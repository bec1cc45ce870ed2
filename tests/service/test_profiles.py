"""What one machine measured is known to the others."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from assembler.device import LOCAL, Profile, load_profile, profile_path, save_profile
from service.catalog import Catalog
from service.db import reading, writing
from service.house import House
from service.profiles import add_profile, keep_profiles, newest_profiles, share_profiles
from service.worker import Worker
from service.zoo import find_members
from supernet.card import Card
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import Building, make_card, make_profile, write_member
from tests.service.process import wait_until
from tests.shapes import SMALL

pytestmark = ON_BOTH_DATABASES


@pytest.fixture
def card() -> Card:
    return make_card()


def share(engine: Engine, data_dir: Path, now: float = 100.0) -> int:
    with writing(engine) as connection:
        return share_profiles(connection, data_dir, now=now)


def newest(engine: Engine) -> list[Profile]:
    with reading(engine) as connection:
        return newest_profiles(connection)


def test_what_a_machine_measured_comes_whole_to_another(engine: Engine, tmp_path: Path, card: Card) -> None:
    profile = make_profile(card)
    save_profile(profile, tmp_path / "worker")
    assert share(engine, tmp_path / "worker") == 1
    assert newest(engine) == [profile]
    assert keep_profiles(newest(engine), tmp_path / "api") == 1
    path = profile_path(tmp_path / "api", LOCAL.name, card.digest)
    assert load_profile(path, SMALL) == profile


def test_what_is_known_already_is_neither_shared_nor_written_again(
    engine: Engine, tmp_path: Path, card: Card
) -> None:
    save_profile(make_profile(card), tmp_path)
    assert share(engine, tmp_path) == 1
    assert share(engine, tmp_path) == 0
    assert keep_profiles(newest(engine), tmp_path) == 0


def test_workers_that_start_together_share_what_they_have_in_common_once(
    engine: Engine, tmp_path: Path, card: Card
) -> None:
    save_profile(make_profile(card), tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as connection:
            assert share_profiles(connection, tmp_path, now=1.0) == 1
            second = pool.submit(share, engine, tmp_path)
            time.sleep(0.3)
        assert second.result(20) == 0


def test_of_several_measurements_the_newest_counts(engine: Engine, tmp_path: Path, card: Card) -> None:
    old, new = make_profile(card), make_profile(card, scale=2.0)
    with writing(engine) as connection:
        add_profile(connection, new, now=200.0)
        add_profile(connection, old, now=100.0)
    assert newest(engine) == [new]
    save_profile(old, tmp_path)
    assert keep_profiles(newest(engine), tmp_path) == 1
    assert load_profile(profile_path(tmp_path, LOCAL.name, card.digest), SMALL) == new


def test_every_supernet_has_its_own(engine: Engine, card: Card) -> None:
    other = make_card("shoes")
    found = [make_profile(one) for one in (card, other)]
    with writing(engine) as connection:
        for profile in found:
            add_profile(connection, profile, now=time.time())
    assert {profile.supernet for profile in newest(engine)} == {card.digest, other.digest}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"digest": "x", "profile": {}}'])
def test_a_file_that_is_no_profile_is_passed_over(
    engine: Engine, tmp_path: Path, card: Card, content: str
) -> None:
    path = save_profile(make_profile(card), tmp_path)
    path.with_name("local-broken.json").write_text(content)
    assert share(engine, tmp_path) == 1


def test_a_file_whose_figures_were_changed_is_not_shared_and_is_written_anew(
    engine: Engine, tmp_path: Path, card: Card
) -> None:
    path = save_profile(make_profile(card), tmp_path)
    stored = json.loads(path.read_text())
    stored["profile"]["latency"]["scale"] = 9.0
    path.write_text(json.dumps(stored | {"digest": "0" * 64}))
    assert share(engine, tmp_path) == 0
    with writing(engine) as connection:
        add_profile(connection, make_profile(card), now=1.0)
    assert keep_profiles(newest(engine), tmp_path) == 1


def test_an_http_process_elsewhere_uses_what_another_kind_of_machine_measured(
    engine: Engine, tmp_path: Path
) -> None:
    members = find_members([write_member(tmp_path / "zoo" / "clothes").parent])
    card = members[0].card
    machine = make_profile(card).machine.model_copy(update={"cpu": "another"})
    keep_profiles([make_profile(card).model_copy(update={"machine": machine})], tmp_path / "data")
    assert Catalog(tmp_path / "data", members).profile(LOCAL, card) is None
    elsewhere = Catalog(tmp_path / "data", members, alone=False)
    assert elsewhere.profile(LOCAL, card) is not None
    assert elsewhere.faults() == []


def test_what_is_measured_while_a_worker_runs_is_told_to_other_machines(
    house: House, worker_with: Callable[..., Worker]
) -> None:
    profile = make_profile(make_card())

    def look() -> bool:
        save_profile(profile, house.settings.data_dir)
        return True

    worker = worker_with(Building(look=look))
    thread = threading.Thread(target=worker.run)
    thread.start()

    def told() -> list[str]:
        return [one.digest for one in newest(house.engine)]

    try:
        if house.settings.database_url is None:
            # There is one machine.
            time.sleep(0.3)
            assert told() == []
        else:
            wait_until(lambda: told() == [profile.digest])
    finally:
        worker.stop()
        thread.join()
