"""Hints: what a scenario is refused with where another supernet than those it may be cut out of knows its classes."""

from collections.abc import Sequence
from dataclasses import replace

from assembler.errors import FieldProblem, ScenarioInvalid
from assembler.scenario import Scenario, resolve
from assembler.strict import pointer
from service.zoo import Member
from supernet.card import Card


def hinted(
    error: ScenarioInvalid, scenario: Scenario, cards: Sequence[Card], lacking: Sequence[Member]
) -> ScenarioInvalid:
    """Return what ``resolve`` refused a scenario with, or what helps more.

    Args:
        error: of ``resolve``.
        scenario: what was asked for.
        cards: of the supernets that were looked through.
        lacking: those that are left out.
    """
    lacking = [member for member in lacking if member.card.kind == scenario.task.kind]
    if scenario.supernet is not None:
        for member in lacking:
            if member.card.name == scenario.supernet:
                return _refusal(FieldProblem("/supernet", "scenario-invalid", member.lacks))
    elif (lacks := _lack(scenario, lacking)) is not None:
        return _refusal(FieldProblem("/task/classes", "unknown-class", lacks))
    if error.code != "unknown-class":
        return error
    classes = {pointer("task", "classes", place): name for place, name in enumerate(scenario.task.classes)}
    known = [card for card in cards if card.kind == scenario.task.kind]
    problems = [
        replace(one, detail=_who_knows(classes[one.pointer], scenario.supernet, known, lacking) or one.detail)
        for one in error.problems
    ]
    return _refusal(*problems)


def _lack(scenario: Scenario, lacking: Sequence[Member]) -> str | None:
    """Return what the supernet lacks that is left out and could answer a scenario, None if none could."""
    try:
        found = resolve(scenario, [member.card for member in lacking])
    except ScenarioInvalid:
        return None
    return next(member.lacks for member in lacking if member.card is found)


def _who_knows(name: str, asked: str | None, cards: Sequence[Card], lacking: Sequence[Member]) -> str | None:
    """Return which supernets know a class that is unknown to the one that was asked for, or to all that are here."""
    knowing = [card.name for card in cards if name in card.names]
    if knowing and asked is not None and asked not in knowing:
        return f"{asked} does not know this class, but {' and '.join(knowing)} {'does' if len(knowing) == 1 else 'do'}"
    lacks = "; ".join(member.lacks for member in lacking if name in member.card.names)
    if knowing or not lacks:
        return None
    return f"only a supernet that is left out knows this class: {lacks}"


def _refusal(*problems: FieldProblem) -> ScenarioInvalid:
    first = problems[0]
    return ScenarioInvalid(first.code, f"{first.pointer}: {first.detail}", problems)
