"""What a scenario is refused with says which other supernet knows its classes."""

from pathlib import Path

import pytest

from assembler.errors import ScenarioInvalid
from assembler.scenario import resolve
from service.hints import hinted
from service.zoo import Member
from supernet.card import Card
from tests.service.making import make_card, scenario

CLOTHES = make_card()
ANIMALS = make_card("animals", ("ant", "bee", "cow"))
INSECTS = make_card("insects", ("ant", "bee", "wasp"))
LACKING = (Member(Path("animals"), ANIMALS, "animals lacks images"),)


def refused(
    classes: list[str],
    supernet: str | None = None,
    *,
    cards: tuple[Card, ...] = (CLOTHES,),
    lacking: tuple[Member, ...] = (),
    **task: object,
) -> ScenarioInvalid:
    wanted = scenario(task={"kind": "classification", "classes": classes, **task}, supernet=supernet)
    with pytest.raises(ScenarioInvalid) as caught:
        resolve(wanted, cards)
    return hinted(caught.value, wanted, cards, lacking)


def details(error: ScenarioInvalid) -> dict[str, str]:
    return {one.pointer: one.detail for one in error.problems}


def test_a_supernet_that_is_left_out_says_what_it_lacks_whatever_classes_it_knows() -> None:
    for classes in (["ant", "cow"], ["ant", "bag"]):
        error = refused(classes, "animals", lacking=LACKING)
        assert details(error) == {"/supernet": "animals lacks images"}
        assert error.code == "scenario-invalid"


def test_classes_of_a_supernet_that_is_left_out_say_what_it_lacks() -> None:
    error = refused(["ant", "cow"], lacking=LACKING)
    assert details(error) == {"/task/classes": "animals lacks images"}
    assert error.code == "unknown-class"


def test_of_classes_of_two_supernets_those_of_the_one_that_is_left_out_say_so() -> None:
    error = refused(["bag", "ant", "bat"], lacking=LACKING)
    found = details(error)
    assert list(found) == ["/task/classes/1", "/task/classes/2"]
    assert (
        found["/task/classes/1"] == "only a supernet that is left out knows this class: animals lacks images"
    )
    assert found["/task/classes/2"].startswith("no supernet knows this class")
    assert error.code == "unknown-class"
    assert error.detail == f"/task/classes/1: {found['/task/classes/1']}"


def test_a_class_that_another_supernet_knows_than_the_one_that_is_named_is_said_to_be_there() -> None:
    error = refused(["ant", "wasp", "owl"], "clothes", cards=(CLOTHES, ANIMALS, INSECTS))
    found = details(error)
    assert found["/task/classes/0"] == "clothes does not know this class, but animals and insects do"
    assert found["/task/classes/1"] == "clothes does not know this class, but insects does"
    assert found["/task/classes/2"].startswith("no supernet knows this class")
    assert error.code == "unknown-class"


def test_classes_that_no_single_supernet_knows_together_are_told_as_before() -> None:
    error = refused(["bag", "ant"], cards=(CLOTHES, ANIMALS), lacking=LACKING)
    assert "together with the others" in error.detail


def test_another_fault_than_an_unknown_class_stays_what_it_is() -> None:
    error = refused(list(CLOTHES.classes), lacking=LACKING, other=True)
    assert [*details(error)] == ["/task/other"]
