"""The shelf: the supernets at hand, looked at again while the service runs, so that new ones need no restart."""

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from service.errors import SettingInvalid
from service.zoo import Member, by_name, checkpoints_in, find_members, read_member
from supernet.errors import SupernetError

log = logging.getLogger(__name__)

# Name, size, and time of change of every file of a checkpoint.
Stamp = tuple[tuple[str, int, int], ...]


class Shelf:
    """The checkpoints of some folders. What is damaged when the service starts stops it; later it is only told of."""

    def __init__(self, folders: Sequence[Path], datasets: Path | None, *, strict: bool = True) -> None:
        """Read all checkpoints.

        Args:
            folders: each a checkpoint or a folder of checkpoints.
            datasets: folder of the data sets at hand.
            strict: whether one that cannot be used raises as ``find_members`` does; else it is a fault.
        """
        self._folders = tuple(folders)
        self._datasets = datasets
        self._stamps: dict[Path, Stamp] = {}
        self.members: tuple[Member, ...] = ()
        self.faults: dict[Path, str] = {}
        self._gone: set[Path] = set()
        self._lock = threading.Lock()
        if strict:
            self._stamps, self.members = _stamps(folders), find_members(folders, datasets)
        else:
            self.look()

    def look(self) -> bool:
        """Look for checkpoints that are new, changed or gone; return whether there are any.

        One that cannot be used is named in ``faults``, folder -> reason; if it was whole before, that is kept.
        """
        with self._lock:
            stamps = _stamps(self._folders)
            # One that is being replaced is not there for a moment: gone is what was so at the last look already.
            gone = self._stamps.keys() - stamps.keys()
            stamps |= {path: self._stamps[path] for path in gone - self._gone}
            self._gone = gone
            if stamps == self._stamps:
                return False
            self._take(stamps)
            return True

    def _take(self, stamps: dict[Path, Stamp]) -> None:
        known = {member.folder: member for member in self.members}
        faults: dict[Path, str] = {}
        members: list[Member] = []
        for path, stamp in stamps.items():
            member = known.get(path)
            if member is None or stamp != self._stamps.get(path):
                try:
                    member = read_member(path, self._datasets)
                except SupernetError as error:
                    faults[path] = str(error)
            try:
                members = [*by_name([*members, *([member] if member else [])])]
            except SettingInvalid as error:
                faults[path] = str(error)
        for path, fault in faults.items():
            if self.faults.get(path) != fault:
                log.error("left out: %s", fault)
        self._stamps, self.members, self.faults = stamps, tuple(members), faults


def _stamps(folders: Iterable[Path]) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in checkpoints_in(folders)}


def _stamp(folder: Path) -> Stamp:
    found = []
    try:
        for file in sorted(folder.iterdir()):
            facts = file.stat()
            found.append((file.name, facts.st_size, facts.st_mtime_ns))
    except OSError:  # it changes under our hands: the next look sees how it ends
        return ()
    return tuple(found)
