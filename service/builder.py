"""The builder of the worker process: loads torch, the checkpoints, and the profile of this machine."""

import logging
import math
import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from assembler.artifact import Assembly
from assembler.assemble import assemble
from assembler.bundle import bundled
from assembler.device import DEVICES, Device
from assembler.errors import AssemblerError, ScenarioInvalid
from assembler.measure import Progress, ensure_profile
from assembler.phase import Phase, PhaseProgress
from assembler.refit import refit_head
from assembler.scenario import Scenario
from service.catalog import Catalog
from service.devices import NONE, Own
from service.errors import Refused, SettingInvalid
from service.logs import say
from service.settings import Settings
from service.shelf import Shelf
from service.zoo import Member, shipped_zoo
from supernet.allocator import keep_freed_memory
from supernet.card import Card
from supernet.checkpoint import Checkpoint, load_checkpoint
from supernet.errors import SupernetError

# What could not be measured for a supernet that came while the worker runs is tried again after so long.
AGAIN_S = 30.0
NOT_MEASURED = "the device could not be measured for the supernet; the worker's log says why"

Step = Phase | PhaseProgress | Assembly

log = logging.getLogger(__name__)


class LocalBuilder:
    """Makes models on this machine."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._checkpoints: dict[str, Checkpoint] = {}
        self._again_at = math.inf

    def load(self, *, strict: bool = True) -> None:
        """Load every checkpoint that is not yet, and measure this machine for it where that was not done.

        Args:
            strict: whether one that cannot be loaded raises as ``load_builder`` says; else it is logged.
        """
        torch_device = _torch_device(self._settings.torch_device)
        before, self._checkpoints = self._checkpoints, {}
        for one in self._catalog.members:
            digest = one.card.digest
            try:
                self._checkpoints[digest] = before.get(digest) or load_checkpoint(
                    one.folder, torch_device, self._settings.datasets
                )
            except SupernetError as error:
                if strict:
                    raise
                log.error("%s", error)
        for one in self._catalog.members:
            for target in DEVICES:
                if target.measured_here:
                    _measure(one, target, self._settings)

    def look(self) -> bool:
        """Take new supernets up, and let go of those that are gone; say whether there was anything to do.

        One that cannot be used is logged; what could not be measured is tried again a while later.
        """
        if not self._catalog.look() and time.monotonic() < self._again_at:
            return False
        self._again_at = math.inf
        try:
            self.load(strict=False)
        except AssemblerError as error:
            log.error("%s", error)
            self._again_at = time.monotonic() + AGAIN_S
        return True

    def warm_up(self) -> None:
        """Load what a first job would wait seconds for: torch imports its solvers when one is made."""
        self._catalog.load()
        draw = np.random.default_rng(0)
        features = draw.random((8, 4), dtype=np.float32)
        refit_head(features, np.arange(8) % 2, np.zeros((2, 4), np.float32), np.zeros(2, np.float32))

    def digest(self, scenario: Scenario, own: Own = NONE) -> str:
        """Return the digest of a scenario.

        Args:
            scenario: what is asked for.
            own: devices of who asks.

        Raises:
            ScenarioInvalid: the supernet or device it asks for is not here.
            Refused: its device was not measured.
        """
        try:
            card = self._catalog.card(scenario, own)
        except ScenarioInvalid:
            # It was taken as valid: perhaps its supernet has only just come.
            self.look()
            card = self._catalog.card(scenario, own)
        digest = self._catalog.digest(scenario, card, own)
        if digest is None:
            raise Refused("internal", NOT_MEASURED)
        return digest

    def build(self, scenario: Scenario, own: Own = NONE) -> Iterator[Phase | PhaseProgress | Assembly]:
        """Yield the phases as they begin and how far long ones have come, then the Assembly."""
        card = self._catalog.card(scenario, own)
        device = self._catalog.device(scenario.device, own)
        profile = self._catalog.profile_for(scenario, card, own)
        if profile is None:
            raise Refused("internal", NOT_MEASURED)
        checkpoint = self._checkpoints.get(card.digest)
        if checkpoint is None:
            raise Refused("internal", "the supernet cannot be loaded; the worker's log says why")
        estimator = self._catalog.estimator(card)
        steps = assemble(scenario, checkpoint, estimator, profile, is_here=device.measured_here)
        return _bundled(steps, card)


def load_builder(settings: Settings, *, strict: bool = True) -> LocalBuilder:
    """Load every checkpoint, measure this machine where that was not done yet, and return the builder.

    Args:
        settings: of this process.
        strict: whether it is not to start where a checkpoint cannot be loaded; else that is left out and logged.

    Raises:
        CheckpointDamaged, DataInvalid, ProfileDamaged: a file is not as it must be.
        DataMissing: a checkpoint takes its images from a data set that is not at hand.
        SettingInvalid: a GPU is asked for and there is none.
        ProfileUnsaved: the data folder cannot be written.
        MeasurementFailed: models cannot be run here now.
    """
    shelf = Shelf((shipped_zoo(), *settings.supernets), settings.datasets, strict=strict)
    torch.set_num_threads(1)  # candidates are cut on threads of their own, see assembler/candidate.py
    keep_freed_memory()  # what photographs are calibrated on is large, and a third of the time goes in mapping it
    builder = LocalBuilder(Catalog(settings.data_dir, shelf.members, shelf), settings)
    builder.load(strict=strict)
    builder.warm_up()
    return builder


def _bundled(steps: Iterable[Step], card: Card) -> Iterator[Step]:
    """Yield the steps of an assembly, and the Assembly with its bundle."""
    for step in steps:
        if isinstance(step, Assembly):
            yield Phase("bundling")
            yield bundled(step, card)
        else:
            yield step


def _measure(member: Member, device: Device, settings: Settings) -> None:
    """Measure a device for a supernet unless that was done, with a line of progress on stderr."""
    started, said = time.monotonic(), -1
    name = f"measuring {device.name} for {member.card.name}"
    for step in ensure_profile(member.card, settings.data_dir, device):
        if isinstance(step, Progress):
            quarter = int(4 * step.done / step.total)
            if quarter > said:
                said = quarter
                say(f"{name}: {25 * quarter} %")
        elif said >= 0:
            say(f"{name}: done in {time.monotonic() - started:.1f} s")


def _torch_device(setting: str) -> str:
    """Return where torch computes, and have it compute alike everywhere.

    Raises:
        SettingInvalid: a GPU is asked for and torch finds none.
    """
    # A model is compared with the supernet at 1e-4: the short floats that GPUs use unasked are too coarse.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if setting == "cpu":
        return "cpu"
    found = torch.cuda.is_available()
    if setting == "cuda" and not found:
        raise SettingInvalid("NNF_TORCH_DEVICE is cuda, but torch finds no GPU that it can use here")
    return "cuda" if found else "cpu"
