"""The processes of a service whose models are made by a plain function.

``python -m tests.service.child serve DATA_DIR ZOO`` and ``... worker DATA_DIR ZOO --worker-id ID``.
The scenario's name says what happens to it: ``slow`` takes a while, ``crash`` kills its worker, ``fail`` has
it raise, ``large`` becomes a file of 4 MB.
"""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from assembler.artifact import Assembly
from assembler.device import save_profile
from assembler.phase import Phase
from assembler.scenario import Scenario
from service.catalog import Catalog
from service.outcome import exit_code
from service.settings import Settings
from service.targets import Allowed
from service.worker import Builder
from service.zoo import find_members, shipped_zoo
from supernet.errors import CheckpointDamaged
from tests.service.making import Building, digest_of, make_assembly, make_profile

LARGE_BYTES = 4_000_000


def build(scenario: Scenario) -> Iterator[Phase | Assembly]:
    yield Phase("assembling")
    if scenario.name == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if scenario.name == "fail":
        raise RuntimeError("it went wrong")
    if scenario.name == "slow":
        time.sleep(1.0)
    yield Phase("compiling")
    content = digest_of(scenario).encode()
    yield make_assembly(
        hashlib.shake_256(content).digest(LARGE_BYTES) if scenario.name == "large" else content
    )


def load(settings: Settings) -> Builder:
    if (settings.data_dir / "unusable").exists():
        raise CheckpointDamaged(settings.data_dir, "its weights are not there")
    members = find_members((shipped_zoo(), *settings.supernets))
    for member in members:
        save_profile(make_profile(member.card), settings.data_dir)
    catalog = Catalog(settings.data_dir, members)
    return Building(build, digest=lambda scenario: catalog.digest(scenario, catalog.card(scenario)) or "")


def run_api(settings: Settings, worker_command: tuple[str, ...]) -> int:
    from service.server import serve

    return serve(settings, "127.0.0.1", 0, worker_command)


def run_worker(settings: Settings, worker_id: str) -> int:
    from service.labour import run_worker

    return run_worker(settings, load, worker_id=worker_id)


def main() -> int:
    what, data_dir, zoo, *more = sys.argv[1:]
    required = os.environ.get("NNF_AUTH") == "required"
    settings = Settings(
        data_dir=Path(data_dir),
        supernets=(Path(zoo),),
        beat_s=0.2,
        drain_s=0.0,
        auth_required=required,
        webhook_allow=Allowed.parse("127.0.0.1"),
        access_log=os.environ.get("NNF_ACCESS_LOG") == "on",
    )
    if what == "serve":
        command = (sys.executable, "-m", "tests.service.child", "worker", data_dir, zoo)
        return exit_code(lambda: run_api(settings, command))
    return exit_code(lambda: run_worker(settings, more[1]))


if __name__ == "__main__":
    sys.exit(main())
