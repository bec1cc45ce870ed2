from datetime import UTC, datetime
from pathlib import Path

import pytest

from assembler.device import (
    LOCAL,
    LatencyFit,
    Machine,
    MemoryFit,
    Profile,
    Quality,
    profile_path,
    save_profile,
)
from assembler.errors import ProfileDamaged, ScenarioInvalid
from service.catalog import Catalog
from service.errors import Refused
from service.zoo import Member, find_members
from supernet.errors import CheckpointDamaged
from tests.service.making import scenario, write_member


@pytest.fixture
def member(tmp_path: Path) -> Member:
    (member,) = find_members([write_member(tmp_path / "clothes")])
    return member


@pytest.fixture
def catalog(tmp_path: Path, member: Member) -> Catalog:
    return Catalog(tmp_path / "data", [member])


def make_profile(member: Member, scale: float = 1.0) -> Profile:
    rows = [tuple(0.01 * n for n in range(b.modules + 1)) for b in member.card.architecture.blocks]
    return Profile(
        device="local",
        machine=Machine(runtime="onnxruntime", runtime_version="1", cpu="a cpu", isa=()),
        threads=1,
        supernet=member.card.digest,
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        latency=LatencyFit(table=tuple(rows), scale=scale, offset_ms=0.02, margin=0.04),
        memory=MemoryFit(base_mb=0.4, per_size=3, per_activation=1, margin=0.05),
        quality=Quality(
            nets=1, latency_mape=0, latency_within_tenth=1, memory_nets=1, memory_mape=0, duration_s=1
        ),
    )


def test_a_profile_is_known_as_soon_as_the_worker_has_written_it(
    catalog: Catalog, member: Member, tmp_path: Path
) -> None:
    assert catalog.profile(LOCAL, member.card) is None
    for scale in (1.0, 2.0):
        profile = make_profile(member, scale)
        save_profile(profile, tmp_path / "data")
        assert catalog.profile(LOCAL, member.card) == profile


def test_the_dense_net_has_figures_once_the_device_is_measured(
    catalog: Catalog, member: Member, tmp_path: Path
) -> None:
    assert catalog.dense(member.card, LOCAL)["latency_ms"] is None
    save_profile(make_profile(member), tmp_path / "data")
    figures = catalog.dense(member.card, LOCAL)
    modules = sum(block.modules for block in member.card.architecture.blocks)
    assert figures["latency_ms"] == pytest.approx(0.01 * modules + 0.02)
    assert figures["accuracy"] == member.card.figures.dense_accuracy


def test_a_damaged_profile_is_found_by_the_check(catalog: Catalog, member: Member, tmp_path: Path) -> None:
    catalog.check()
    save_profile(make_profile(member), tmp_path / "data")
    catalog.check()
    path = profile_path(tmp_path / "data", "local", member.card.digest)
    path.write_text(path.read_text().replace("0.02", "0.03"))
    with pytest.raises(ProfileDamaged):
        catalog.check()


def test_a_checkpoint_without_its_networks_is_damaged(catalog: Catalog) -> None:
    with pytest.raises(CheckpointDamaged, match="its assembler cannot be loaded"):
        catalog.load()


def test_a_scenario_leads_to_its_card(catalog: Catalog, member: Member) -> None:
    assert catalog.card(scenario()) == member.card


def test_an_unknown_device_is_named_with_the_closest_one(catalog: Catalog) -> None:
    with pytest.raises(ScenarioInvalid) as caught:
        catalog.card(scenario(device="locale"))
    assert (caught.value.code, caught.value.problems[0].pointer) == ("unknown-device", "/device")
    assert '"local"' in caught.value.detail


def test_there_is_no_estimate_and_no_digest_before_the_device_is_measured(
    catalog: Catalog, member: Member
) -> None:
    assert catalog.digest(scenario(), member.card) is None
    with pytest.raises(Refused) as caught:
        catalog.estimate(scenario())
    assert caught.value.code == "not-ready"
