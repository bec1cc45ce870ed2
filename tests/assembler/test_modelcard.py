"""A model card tells people what a model is, and no name in it is taken for markup."""

import re
from dataclasses import replace

import pytest

from assembler.modelcard import model_card
from tests.assembler.bundles import CARD, assembled


def rows(card: str) -> dict[str, list[str]]:
    """Return the rows of all tables by their first cell."""
    lines = (re.split(r"(?<!\\)\|", line)[1:-1] for line in card.splitlines() if line.startswith("|"))
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_task_input_limits_figures_data_and_origin_are_told() -> None:
    assembly = assembled(other=True)
    card = model_card(assembly, CARD)
    assert card.startswith("# Image classifier: boot, café, other\n")
    assert "0. boot\n1. café\n2. other\n" in card
    told = rows(card)
    assert told["Shape"] == ["N x 1 x 16 x 16, NCHW, float32"]
    assert told["Latency of one image, ms"] == ["at most 1.5", "0.1", "0.11", "yes"]
    assert told["Accuracy, 0..1"] == ["at least 0.9", "0.88", "0.875", "**no**"]
    assert told["Memory at its peak, MB"] == ["-", "2", "2", "-"]
    assert told["Licence of the data"] == ["MIT"]
    assert told["Credit"] == ["nobody"]
    assert told["Supernet's digest"] == [f"sha256:{CARD.digest}"]
    assert told["Model file"] == [f"sha256:{assembly.artifact.sha256}"]
    assert "64 validation images" in card
    assert "not trained on its own" in card


def test_what_was_not_measured_is_not_told_as_measured() -> None:
    card = model_card(assembled(verified=False), CARD)
    assert "nothing was measured" in card
    assert rows(card)["Latency of one image, ms"][2] == "-"


def test_what_is_foretold_for_a_device_elsewhere_is_told_as_such() -> None:
    assembly = assembled()
    assert assembly.measured is not None
    scored = assembly.measured.model_copy(update={"latency_ms": None, "memory_mb": None})
    card = model_card(replace(assembly, measured=scored), CARD)
    told = rows(card)
    assert told["Latency of one image, ms"][2] == told["Memory at its peak, MB"][2] == "-"
    assert told["Accuracy, 0..1"][2] == "0.875"
    assert "Latency and memory are foretold by the profile of device" in card
    assert "percentile" not in card


def test_a_refined_model_is_told_as_such() -> None:
    plain = assembled()
    for kept in (True, False):
        refined = replace(plain, manifest={**plain.manifest, "refined": {"kept": kept}})
        assert ("trained further for its task" in model_card(refined, CARD)) is kept


@pytest.mark.parametrize(
    "name",
    ["a | b", "<script>alert(1)</script>", "[x](http://example.com)", "**bold** `code` _it_", "# h\n\n# g"],
)
def test_names_are_shown_and_never_taken_for_markup(name: str) -> None:
    plain = assembled()
    source = CARD.data.model_copy(update={"credit": name, "licence": name})
    hostile = replace(plain, manifest={**plain.manifest, "classes": [name, "bag"]})
    card = model_card(hostile, CARD.model_copy(update={"data": source}))
    assert rows(card)["Credit"] == rows(card)["Licence of the data"]
    assert name not in card
    bare = re.sub(r"\\.", "", card)
    assert not re.search(r"<|\]\(|alert\(", bare)
    assert len(re.findall(r"^#", card, re.MULTILINE)) == len(
        re.findall(r"^#", model_card(plain, CARD), re.MULTILINE)
    )
    unescaped = re.sub(r"\\(.)", r"\1", card)
    assert " ".join(name.split()) in unescaped


def test_of_many_classes_the_title_names_a_few() -> None:
    plain = assembled()
    many = replace(plain, manifest={**plain.manifest, "classes": [f"class {n}" for n in range(9)]})
    assert model_card(many, CARD).startswith(
        "# Image classifier: class 0, class 1, class 2, class 3, class 4 and 4 more\n"
    )
