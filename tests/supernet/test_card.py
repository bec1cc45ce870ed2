"""A Card's digest follows what changes a model, and nothing else."""

import pytest
from pydantic import ValidationError

from supernet.card import Card
from tests.service.making import make_card
from tests.shapes import SMALL

CARD = make_card(files={"weights.safetensors": "0" * 64})


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {"weights.safetensors": "1" * 64}},
        {"classes": ("bag", "coat")},
        {"name": "other"},
        {"raises": (2, 5)},
        {"architecture": SMALL.model_copy(update={"neck_channels": 48})},
    ],
)
def test_the_digest_changes_with_what_changes_a_model(changed: dict[str, object]) -> None:
    known = CARD.digest
    assert CARD.model_copy(update=changed).digest != known
    assert CARD.digest == known


def test_the_digest_stays_when_only_the_story_changes() -> None:
    training = CARD.training.model_copy(update={"machine": "another"})
    assert CARD.model_copy(update={"training": training}).digest == CARD.digest
    assert Card.model_validate_json(CARD.model_dump_json()).digest == CARD.digest


def test_an_architecture_without_blocks_is_refused() -> None:
    with pytest.raises(ValidationError, match="blocks"):
        Card.model_validate({**CARD.model_dump(), "architecture": {**SMALL.model_dump(), "blocks": ()}})


@pytest.mark.parametrize("raises", [(1,), (1, 2, 3)])
def test_raises_are_of_all_smaller_sides(raises: tuple[int, ...]) -> None:
    facts = {**CARD.model_dump(), "architecture": SMALL.model_dump()}
    assert Card.model_validate({**facts, "raises": (2, 5)}).raises == (2, 5)
    with pytest.raises(ValidationError, match="raises are of the smaller sides"):
        Card.model_validate({**facts, "raises": raises})
