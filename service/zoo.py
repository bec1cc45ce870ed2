"""The supernets at hand: the shipped zoo and the folders of NNF_SUPERNETS. Loads no torch."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from service.errors import SettingInvalid
from supernet.card import CARD_FILE, Card, load_card
from supernet.errors import DataMissing
from supernet.named import NAMED_FILE, data_at_hand, load_named

WEIGHTS_FILE = "weights.safetensors"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint: its folder, its Card, and, if no model can be cut out of it now, why: a sentence."""

    folder: Path
    card: Card
    lacks: str = ""


def shipped_zoo() -> Path:
    """Return the folder of the checkpoints that come with the program."""
    return Path(str(resources.files("supernet"))) / "zoo"


def find_members(folders: Iterable[Path], datasets: Path | None = None) -> tuple[Member, ...]:
    """Return all checkpoints, every file of them checked, by name.

    A shipped one that takes its images from a data set that is not at hand says so in ``lacks``; with a warning in the
    log where data sets are named.

    Args:
        folders: each a checkpoint or a folder of checkpoints.
        datasets: folder of the data sets at hand.

    Raises:
        CheckpointDamaged: a checkpoint is not whole, its Card included.
        DataMissing: one that is not shipped takes its images from a data set that is not at hand.
        SettingInvalid: two checkpoints have the same name.
    """
    found: dict[str, Member] = {}
    for folder in folders:
        for path in _checkpoints(folder):
            card = load_card(path)
            member = Member(path, card, _lacks(path, card, datasets))
            other = found.get(card.name)
            if other and not (other.lacks or member.lacks):
                raise SettingInvalid(f"two supernets are named {card.name}: in {other.folder} and in {path}")
            if other is None or other.lacks:
                found[card.name] = member
    return tuple(found[name] for name in sorted(found))


def usable(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return those that models can be cut out of."""
    return tuple(member for member in members if not member.lacks)


def _lacks(folder: Path, card: Card, datasets: Path | None) -> str:
    if NAMED_FILE not in card.files:
        return ""
    try:
        data_at_hand(folder, load_named(folder), datasets)
    except DataMissing as missing:
        if shipped_zoo() not in folder.parents:
            raise
        # Who names no data sets does not miss one.
        log.log(logging.INFO if datasets is None else logging.WARNING, "left out: %s", missing)
        files = ", ".join(missing.files)
        return f"supernet {card.name} takes its images from {files}: they belong in the folder that NNF_DATASETS names"
    return ""


def _checkpoints(folder: Path) -> Iterator[Path]:
    if _is_checkpoint(folder):
        yield folder
    elif folder.is_dir():
        # Names that start with a dot are those of checkpoints that are still being written.
        inside = (path for path in folder.iterdir() if not path.name.startswith("."))
        yield from sorted(path for path in inside if _is_checkpoint(path))


def _is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is meant as a checkpoint: one that lost its Card must not go missing unseen."""
    return (folder / CARD_FILE).exists() or (folder / WEIGHTS_FILE).exists()
