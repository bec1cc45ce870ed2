"""Page: a checkpoint on one HTML page that needs nothing else, no script and no network."""

from collections.abc import Mapping

from assembler.look import drawing
from assembler.look.drawing import LEVELS, percent
from assembler.look.facts import Look
from assembler.look.markup import Markup, section, tag
from assembler.look.sections import confusion_section, curve_section, worst_section
from supernet.card import Card, Renewal

COLORS = {"rgb": "RGB"}
# Nothing may be loaded, whatever a name may have smuggled in.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } h3 { margin: 1.2rem 0 .3rem }
p.lead, .note { color: #57606a } p.lead { margin-top: 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .6rem; text-align: left; vertical-align: top; overflow-wrap: anywhere }
table.lines td, table.lines th { border-bottom: 1px solid #d8dee4 }
table.lines thead th { white-space: nowrap }
td.number, th.number { text-align: right; white-space: nowrap }
#facts th { font-weight: 600; white-space: nowrap }
.wide { overflow-x: auto }
table.confusion td { width: 2.6rem; min-width: 2.6rem; padding: .2rem 0; text-align: center; border: 1px solid #fff }
table.confusion th { font-weight: 400; text-align: right; max-width: 14rem; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis }
table.confusion thead th { vertical-align: bottom; text-align: center; padding: .2rem 0 }
table.confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 12rem;
  overflow: hidden }
figure { display: inline-block; width: 96px; margin: 0 .6rem .4rem 0; vertical-align: top; font-size: 13px;
  line-height: 1.3; overflow-wrap: anywhere }
figure img { width: 96px; height: 96px; object-fit: contain; image-rendering: pixelated; background: #eaeef2 }
"""


def page_of(look: Look) -> str:
    """Return the page as text; it is well-formed XML too, and the same for an equal Look."""
    card = look.card
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", card.name),
        tag("style", Markup(STYLE + drawing.STYLE + _colours())),
    )
    body = tag(
        "body",
        tag("h1", card.name),
        tag("p", f"A supernet for {card.kind.value}, {len(card.classes)} classes", class_="lead"),
        section("facts", "What it is", _facts(look.card)),
        confusion_section(look),
        worst_section(look),
        curve_section(look),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _colours() -> str:
    """Return the colours of shares: blue for what is right, red for what is wrong."""
    rules = []
    for name, (red, green, blue) in (("r", (9, 80, 174)), ("w", (200, 40, 30))):
        for step in range(LEVELS + 1):
            share = step / LEVELS
            mixed = ",".join(str(round(255 + (part - 255) * share)) for part in (red, green, blue))
            ink = ";color:#fff" if share > 0.5 else ""
            rules.append(f".{name}{step} {{ background:rgb({mixed});fill:rgb({mixed}){ink} }}")
    return "\n".join(rules)


def _facts(card: Card) -> Markup:
    rows = (tag("tr", tag("th", name, scope="row"), tag("td", said)) for name, said in _said(card).items())
    return tag("table", tag("tbody", *rows), class_="lines")


def _renewed(renewal: Renewal | None) -> str:
    if renewal is None:
        return "of the same run"
    return f"fitted anew since: {renewal.command}, {_listed(renewal.versions)}"


def _said(card: Card) -> dict[str, str]:
    image, training, figures = card.architecture.input, card.training, card.figures
    sides = "".join(f", or shrunk to {side} px" for side in card.architecture.sides)
    return {
        "Classes": ", ".join(card.classes),
        "Dense net": f"{percent(figures.dense_accuracy)} right of {figures.test_images:,} test images",
        "Predicted accuracy": (
            f"off by {100 * figures.predictor_error:.2f} points on average, "
            f"on {figures.predictor_pairs:,} class sets never trained on"
        ),
        "Data": card.data.name,
        "Licence": card.data.licence,
        "Credit": card.data.credit or "-",
        "Image": f"{image.width} x {image.height} px, {COLORS.get(image.color, image.color)}{sides}",
        "Size": f"{sum(card.architecture.modules)} modules in {len(card.architecture.blocks)} blocks",
        "Command": training.command or "-",
        "Training": f"{training.epochs:g} epochs, seed {training.seed}, {training.duration_s:,.0f} s",
        "Augmentation": _listed(training.augmentation) or "not known",
        "Machine": training.machine or "-",
        "Versions": _listed(training.versions) or "-",
        "Predictor": _renewed(training.renewal),
        "Digest": card.digest,
    }


def _listed(facts: Mapping[str, object] | None) -> str:
    def say(value: object) -> object:
        return ("yes" if value else "no") if isinstance(value, bool) else value

    return ", ".join(f"{name} {say(value)}" for name, value in (facts or {}).items())
