"""The page of a checkpoint says what its Card says, needs nothing else, and trusts no name."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from assembler.look.facts import Look, Mistake
from assembler.look.page import page_of
from tests.assembler.look.seen import HOSTILE, READABLE, of_many, parsed, rows

PLAIN = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "section", "div", "span"}
TABLES = {"table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "img"}
DRAWINGS = {"svg", "path", "text", "polyline", "circle", "rect", "title"}


def test_the_facts_are_those_of_the_card(look: Look) -> None:
    facts = {row[0]: row[1] for row in rows(parsed(look), ".//section[@id='facts']/table")}
    assert facts["Dense net"] == "50.0 % right of 6 test images"
    assert facts["Predicted accuracy"].startswith("off by 10.00 points")
    assert (facts["Data"], facts["Licence"], facts["Credit"]) == ("bands", "MIT", "-")
    assert facts["Classes"] == "ant, bee, cat, dog, eel, fox"
    assert facts["Digest"] == look.card.digest


@pytest.mark.parametrize("classes", [6, 17, 100])
def test_names_are_shown_and_never_obeyed(look: Look, classes: int) -> None:
    many = of_many(look, classes)
    source = many.card.data.model_copy(update={"credit": HOSTILE[0], "licence": HOSTILE[1]})
    training = many.card.training.model_copy(update={"command": HOSTILE[2]})
    card = many.card.model_copy(update={"data": source, "training": training, "name": HOSTILE[0]})
    mistake = Mistake(np.zeros((3, 8, 8), np.uint8), 1)
    page = page_of(Look(card, many.tried_on, many.confusion, many.curve, {0: (mistake,)}))
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Reader().feed(page)
    assert {name for name, _ in seen} <= PLAIN | TABLES | DRAWINGS
    assert not any(key.startswith("on") for _, attributes in seen for key in attributes)
    facts = {row[0]: row[1] for row in rows(ElementTree.fromstring(page), ".//section[@id='facts']/table")}
    assert facts["Classes"].startswith(", ".join(READABLE))
    assert (facts["Credit"], facts["Licence"], facts["Command"]) == HOSTILE[:3]


@pytest.mark.parametrize("classes", [6, 100])
def test_nothing_is_loaded_from_anywhere(look: Look, classes: int) -> None:
    page = parsed(look if classes == 6 else of_many(look, classes))
    for element in page.iter():
        assert not {"href", "srcset", "data", "action", "poster", "style"} & element.attrib.keys()
        assert element.attrib.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
    style = page.findtext(".//style")
    assert style is not None
    assert not any(word in style for word in ("url(", "@import", "image-set", "http"))
    assert page.find(".//meta[@http-equiv]").attrib["content"].startswith("default-src 'none';")  # type: ignore[union-attr]
