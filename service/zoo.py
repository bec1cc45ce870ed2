"""The supernets at hand: the shipped zoo and the folders of NNF_SUPERNETS. Loads no torch."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from service.errors import SettingInvalid
from supernet.card import CARD_FILE, Card, load_card
from supernet.errors import DataInvalid, DataMissing
from supernet.named import NAMED_FILE, check_files, data_at_hand, load_named

WEIGHTS_FILE = "weights.safetensors"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint: its folder, its Card, and, if no model can be cut out of it now, why: a sentence."""

    folder: Path
    card: Card
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A checkpoint that no model can be cut out of now, and why, a sentence; ``kind`` where its Card can be read."""

    name: str
    kind: str | None
    lacks: str


def shipped_zoo() -> Path:
    """Return the folder of the checkpoints that come with the program."""
    return Path(str(resources.files("supernet"))) / "zoo"


def find_members(
    folders: Iterable[Path], datasets: Path | None = None, shipped: Path | None = None
) -> tuple[Member, ...]:
    """Return all checkpoints, every file of them checked, by name.

    A shipped one that takes its images from a data set that is not at hand, or of which a file is another, says so in
    ``lacks``; with a warning in the log where data sets are named.

    Args:
        folders: each a checkpoint or a folder of checkpoints.
        datasets: folder of the data sets at hand.
        shipped: folder of the checkpoints that come with the program, None where that is as installed.

    Raises:
        CheckpointDamaged: a checkpoint is not whole, its Card included.
        DataMissing: one that is not shipped takes its images from a data set that is not at hand.
        SettingInvalid: two checkpoints have the same name.
    """
    return by_name(read_member(path, datasets, shipped) for path in checkpoints_in(folders))


def read_member(folder: Path, datasets: Path | None, shipped: Path | None = None) -> Member:
    """Return the checkpoint in a folder, every file of it checked; arguments and errors are ``find_members``'."""
    card = load_card(folder)
    return Member(folder, card, _lacks(folder, card, datasets, shipped or shipped_zoo()))


def by_name(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return checkpoints by name; of two of one name one that lacks something gives way.

    Raises:
        SettingInvalid: two have the same name and lack nothing.
    """
    found: dict[str, Member] = {}
    for member in members:
        name, other = member.card.name, found.get(member.card.name)
        if other and not (other.lacks or member.lacks):
            raise SettingInvalid(f"two supernets are named {name}: in {other.folder} and in {member.folder}")
        if other is None or other.lacks:
            found[name] = member
    return tuple(found[name] for name in sorted(found))


def usable(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return those that models can be cut out of."""
    return tuple(member for member in members if not member.lacks)


def _lacks(folder: Path, card: Card, datasets: Path | None, shipped: Path) -> str:
    if NAMED_FILE not in card.files:
        return ""
    named, ships = load_named(folder), shipped in folder.parents
    try:
        found = data_at_hand(folder, named, datasets, card.data.told)
        if ships:
            check_files(folder, named, found.parent)
    except DataMissing as missing:
        if not ships:
            raise
        # Who names no data sets does not miss one.
        log.log(logging.INFO if datasets is None else logging.WARNING, "left out: %s", missing)
        return f"{missing.lacks}: they belong in the folder that NNF_DATASETS names"
    except (DataInvalid, OSError) as invalid:
        log.warning("left out: %s: %s", card.name, invalid)
        return f"supernet {card.name} cannot take its images: {invalid}"
    return ""


def checkpoints_in(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders that are meant as checkpoints, among some folders and in them."""
    for folder in folders:
        if _is_checkpoint(folder):
            yield folder
        elif folder.is_dir():
            # Names that start with a dot are those of checkpoints that are still being written.
            inside = (path for path in folder.iterdir() if not path.name.startswith("."))
            yield from sorted(path for path in inside if _is_checkpoint(path))


def _is_checkpoint(folder: Path) -> bool:
    """Return whether a folder is meant as a checkpoint: one that lost its Card must not go missing unseen."""
    return (folder / CARD_FILE).exists() or (folder / WEIGHTS_FILE).exists()
