"""Whatever text is given, an element is well-formed and holds just this text."""

from unicodedata import category
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from assembler.look.markup import Markup, escape, section, table, tag


def readable(text: str) -> str:
    """Return a text as XML can hold it."""
    return "".join("\ufffd" if category(letter) in ("Cc", "Cs", "Cn") else letter for letter in text)


@given(st.text(), st.text())
def test_any_text_comes_back_as_text(content: str, value: str) -> None:
    element = ElementTree.fromstring(tag("p", content, title=value))
    assert (element.text or "") == readable(content)
    assert element.attrib == {"title": readable(value)}
    assert len(element) == 0


def test_markup_stands_as_it_is_and_text_does_not() -> None:
    inner = tag("b", "x & y")
    assert inner == "<b>x &amp; y</b>"
    assert tag("p", inner, "<b>") == "<p><b>x &amp; y</b>&lt;b&gt;</p>"
    assert isinstance(inner, Markup)
    assert not isinstance(escape("<b>"), Markup)


def test_names_of_attributes_are_those_of_html() -> None:
    assert tag("p", class_="a", http_equiv="b") == '<p class="a" http-equiv="b"></p>'


def test_elements_without_content_close_themselves() -> None:
    assert tag("img", src="x") == '<img src="x"/>'


def test_a_section_has_an_anchor_and_a_title() -> None:
    element = ElementTree.fromstring(section("facts", "What it is", "text"))
    assert (element.attrib["id"], element.findtext("h2")) == ("facts", "What it is")
    assert "".join(element.itertext()).endswith("text")


def test_columns_behind_the_words_are_numbers() -> None:
    found = ElementTree.fromstring(table(("Class", "Images"), [("<a>", "1"), ("b", "20")], words=1))
    cells = [[(cell.text, cell.get("class")) for cell in row] for row in found.findall("tbody/tr")]
    assert cells == [[("<a>", None), ("1", "number")], [("b", None), ("20", "number")]]
    assert [cell.text for cell in found.findall("thead/tr/th")] == ["Class", "Images"]
