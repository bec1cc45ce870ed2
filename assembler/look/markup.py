"""Markup: text with tags, in which everything that is not markup already is escaped.

What comes out is HTML and well-formed XML at once.
"""

import html
import unicodedata
from collections.abc import Sequence

VOID = frozenset({"meta", "img", "col"})
# Control characters, halves of pairs and code points that are no characters: XML cannot hold them.
NO_TEXT = frozenset({"Cc", "Cs", "Cn"})
REPLACEMENT = "\ufffd"


class Markup(str):
    """Text that may stand between tags as it is; never made of what came from outside but by ``tag``."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        content: what stands in it; plain text is escaped, Markup is not.
        attributes: values are escaped; underscores of a name become hyphens, one at its end falls away.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    if name in VOID:
        return Markup(f"<{name}{said}/>")
    inside = "".join(part if isinstance(part, Markup) else escape(part) for part in content)
    return Markup(f"<{name}{said}>{inside}</{name}>")


def escape(text: str) -> str:
    """Return text without anything that HTML or XML would take for markup, or cannot hold."""
    kept = (REPLACEMENT if unicodedata.category(letter) in NO_TEXT else letter for letter in text)
    return html.escape("".join(kept))


def section(name: str, title: str, *content: str) -> Markup:
    """Return a part of a page with its title; ``name`` is its anchor."""
    return tag("section", tag("h2", title), *content, id=name)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], words: int) -> Markup:
    """Return a table whose first columns, so many, are words and the others numbers."""

    def row(kind: str, cells: tuple[str, ...]) -> Markup:
        return tag(
            "tr",
            *(
                tag(kind, cell) if place < words else tag(kind, cell, class_="number")
                for place, cell in enumerate(cells)
            ),
        )

    return tag(
        "table",
        tag("thead", row("th", head)),
        tag("tbody", *(row("td", cells) for cells in rows)),
        class_="lines",
    )
