"""Processes of the service whose models are made by a plain function: ``python -m tests.faults.child api|worker``.

The environment says where database, Redis and store are, as for the program itself. ``FAULT_CLOCK`` names a file that
holds by how many seconds this process' clock is wrong.
"""

import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from assembler.artifact import Assembly
from assembler.device import save_profile
from assembler.phase import Phase
from assembler.scenario import Scenario
from service.catalog import Catalog
from service.outcome import exit_code
from service.settings import Settings, read_settings
from service.worker import Builder
from service.zoo import find_members, shipped_zoo
from tests.service.making import Building, digest_of, make_assembly, make_profile

PHASES = ("assembling", "compiling", "verifying")
LEASE_S, BEAT_S, TIDY_S = 2.0, 0.2, 2.0


def build(scenario: Scenario) -> Iterator[Phase | Assembly]:
    """Make something.

    The scenario's labels say how long a phase takes, where to die, and once or always, and how much is written into the
    scratch folder meanwhile.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" * int(scenario.labels.get("scratch", "0")))
        file.flush()
    for phase in PHASES:
        yield Phase(phase)
        time.sleep(float(scenario.labels.get("phase_s", "0.01")))
        if scenario.labels.get("dies") == phase and _again(scenario):
            os.kill(os.getpid(), signal.SIGKILL)
    content = digest_of(scenario).encode()
    size = int(scenario.labels.get("bytes", "0"))
    yield make_assembly(hashlib.shake_256(content).digest(size) if size else content)


def _again(scenario: Scenario) -> bool:
    """Return whether to die this time as well."""
    marker = Path(os.environ["FAULT_MARKS"]) / hashlib.sha256((scenario.name or "").encode()).hexdigest()
    if scenario.labels.get("always"):
        return True
    if marker.exists():
        return False
    marker.touch()
    return True


def load(settings: Settings) -> Builder:
    members = find_members((shipped_zoo(), *settings.supernets))
    for member in members:
        save_profile(make_profile(member.card), settings.data_dir)
    catalog = Catalog(settings.data_dir, members)
    return Building(build, digest=lambda scenario: catalog.digest(scenario, catalog.card(scenario)) or "")


def shift_clock(path: Path) -> None:
    """Have this process' clock be wrong by what stands in a file."""
    right = time.time

    def wrong() -> float:
        try:
            return right() + float(path.read_text() or "0")
        except OSError:
            return right()

    time.time = wrong


def main() -> int:
    from service import caretaker
    from service.labour import run_worker
    from service.server import serve

    # Once an hour otherwise.
    caretaker.TIDY_S = TIDY_S
    if "FAULT_CLOCK" in os.environ:
        shift_clock(Path(os.environ["FAULT_CLOCK"]))
    settings = replace(read_settings(), lease_s=LEASE_S, beat_s=BEAT_S)
    if sys.argv[1] == "api":
        return exit_code(lambda: serve(settings, "127.0.0.1", int(sys.argv[2]), None))
    return exit_code(lambda: run_worker(settings, load))


if __name__ == "__main__":
    sys.exit(main())
