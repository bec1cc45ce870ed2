import time
from pathlib import Path

import pytest

from assembler.device import LOCAL, Device, Profile, profile_path, save_profile, this_machine
from assembler.errors import ProfileDamaged, ScenarioInvalid
from service.catalog import LOOK_S, Catalog
from service.devices import Made, Own
from service.errors import Refused
from service.zoo import Member, find_members
from supernet.errors import CheckpointDamaged
from tests.service.making import make_profile, scenario, write_member


@pytest.fixture
def member(tmp_path: Path) -> Member:
    (member,) = find_members([write_member(tmp_path / "clothes")])
    return member


@pytest.fixture
def catalog(tmp_path: Path, member: Member) -> Catalog:
    return Catalog(tmp_path / "data", [member])


def test_a_profile_is_known_as_soon_as_the_worker_has_written_it(
    catalog: Catalog, member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.catalog.LOOK_S", 0.0)
    assert catalog.profile(LOCAL, member.card) is None
    for scale in (1.0, 2.0):
        profile = make_profile(member.card, scale)
        save_profile(profile, tmp_path / "data")
        assert catalog.profile(LOCAL, member.card) == profile
        time.sleep(LOOK_S)


def owning(member: Member, *profiles: Profile) -> Own:
    """Return the devices of somebody who has one, with what was measured on it."""
    pi = Device(name="pi", title="Pi", threads=1, measured_here=False)
    found = {profile.supernet: profile.model_copy(update={"device": "pi"}) for profile in profiles}
    return Own((Made("dev_1", pi, 0.0, found),), ("pi",))


def test_a_device_that_somebody_owns_is_judged_by_what_was_measured_on_it(
    catalog: Catalog, member: Member, tmp_path: Path
) -> None:
    save_profile(make_profile(member.card), tmp_path / "data")
    own = owning(member, make_profile(member.card, 3.0))
    (made,) = own.devices
    wanted = scenario(device="pi")
    assert catalog.card(wanted, own) == member.card
    assert catalog.profile_for(wanted, member.card, own) == made.profiles[member.card.digest]
    assert catalog.digest(wanted, member.card, own) != catalog.digest(scenario(), member.card, own)
    dense = [catalog.dense(member.card, device, own)["latency_ms"] for device in (LOCAL, made.device)]
    assert dense[1] - 0.02 == pytest.approx(3 * (dense[0] - 0.02))
    with pytest.raises(ScenarioInvalid, match="there is no device"):
        catalog.card(wanted)


def test_a_device_without_a_profile_of_the_supernet_will_not_get_one_by_waiting(
    catalog: Catalog, member: Member
) -> None:
    for act in (catalog.estimate, lambda wanted, own: catalog.digest(wanted, member.card, own)):
        with pytest.raises(ScenarioInvalid) as caught:
            act(scenario(device="pi"), owning(member))
        assert (caught.value.code, caught.value.problems[0].pointer) == ("device-not-measured", "/device")
    assert catalog.dense(member.card, owning(member).devices[0].device, owning(member))["latency_ms"] is None


def test_the_dense_net_has_figures_once_the_device_is_measured(
    catalog: Catalog, member: Member, tmp_path: Path
) -> None:
    assert catalog.dense(member.card, LOCAL)["latency_ms"] is None
    save_profile(make_profile(member.card), tmp_path / "data")
    figures = catalog.dense(member.card, LOCAL)
    modules = sum(block.modules for block in member.card.architecture.blocks)
    assert figures["latency_ms"] == pytest.approx(0.01 * modules + 0.02)
    assert figures["accuracy"] == member.card.figures.dense_accuracy


def test_a_damaged_profile_is_found_by_the_check(catalog: Catalog, member: Member, tmp_path: Path) -> None:
    catalog.check()
    save_profile(make_profile(member.card), tmp_path / "data")
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


@pytest.mark.parametrize("change", [{"runtime_version": "0.9"}, {"cpu": "another"}, {"isa": ("none",)}])
def test_a_profile_of_another_machine_counts_as_none(
    catalog: Catalog, member: Member, tmp_path: Path, change: dict[str, object]
) -> None:
    profile = make_profile(member.card)
    machine = this_machine().model_copy(update=change)
    save_profile(profile.model_copy(update={"machine": machine}), tmp_path / "data")
    catalog.check()
    assert catalog.profile(LOCAL, member.card) is None
    assert [str(fault) for fault in catalog.faults()] == ["local is not measured yet for clothes"]
    assert not catalog.any_usable()
    with pytest.raises(Refused, match="still being measured"):
        catalog.estimate(scenario())
    time.sleep(LOOK_S)
    save_profile(profile, tmp_path / "data")
    assert catalog.profile(LOCAL, member.card) == profile
    assert catalog.faults() == []


def harm(path: Path, how: str) -> None:
    if how == "damaged":
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["damaged", "lost"])
def test_the_last_whole_profile_goes_on_being_used_and_the_fault_is_told(
    catalog: Catalog, member: Member, tmp_path: Path, how: str
) -> None:
    profile = make_profile(member.card)
    path = save_profile(profile, tmp_path / "data")
    assert catalog.profile(LOCAL, member.card) == profile
    harm(path, how)
    time.sleep(LOOK_S)
    assert catalog.profile(LOCAL, member.card) == profile
    (fault,) = catalog.faults()
    assert how in str(fault)
    assert str(tmp_path) not in str(fault)
    again = make_profile(member.card, 2.0)
    save_profile(again, tmp_path / "data")
    assert catalog.profile(LOCAL, member.card) == again
    assert catalog.faults() == []


def test_a_damaged_profile_that_was_never_whole_is_not_ready(
    catalog: Catalog, member: Member, tmp_path: Path
) -> None:
    harm(save_profile(make_profile(member.card), tmp_path / "data"), "damaged")
    for ask in (
        lambda: catalog.profile(LOCAL, member.card),
        lambda: catalog.dense(member.card, LOCAL),
        lambda: catalog.digest(scenario(), member.card),
        lambda: catalog.estimate(scenario()),
    ):
        with pytest.raises(Refused, match="measure it again") as caught:
            ask()
        assert caught.value.code == "not-ready"
    assert [str(fault) for fault in catalog.faults()] == ["local has a damaged profile for clothes"]


@pytest.fixture
def partly(tmp_path: Path, member: Member) -> Catalog:
    """A catalogue with one supernet and another one that lacks its images."""
    card = member.card.model_copy(update={"name": "animals", "classes": ("ant", "bee", "cow")})
    return Catalog(tmp_path / "data", [member, Member(tmp_path / "animals", card, "animals lacks images")])


def test_who_asks_for_classes_of_a_supernet_that_is_left_out_is_told_what_it_lacks(partly: Catalog) -> None:
    with pytest.raises(ScenarioInvalid, match="animals lacks images") as caught:
        partly.card(scenario(task={"kind": "classification", "classes": ["ant", "cow"]}))
    assert caught.value.code == "unknown-class"
    assert caught.value.problems[0].pointer == "/task/classes"
    with pytest.raises(ScenarioInvalid, match="animals lacks images") as caught:
        partly.card(scenario(task={"kind": "classification", "classes": ["ant", "cow"]}, supernet="animals"))
    assert caught.value.problems[0].pointer == "/supernet"


def test_classes_that_no_supernet_knows_are_unknown_though_one_is_left_out(partly: Catalog) -> None:
    with pytest.raises(ScenarioInvalid, match="no supernet knows") as caught:
        partly.card(scenario(task={"kind": "classification", "classes": ["owl", "bat"]}))
    assert "lacks" not in str(caught.value)
