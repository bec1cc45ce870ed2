"""The builder of the worker process: loads torch, the checkpoints, and the profile of this machine."""

import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from assembler.artifact import Assembly
from assembler.assemble import Phase, assemble
from assembler.device import DEVICES, Device
from assembler.measure import Progress, ensure_profile
from assembler.refit import refit_head
from assembler.scenario import Scenario
from service.catalog import Catalog
from service.errors import Refused, SettingInvalid
from service.settings import Settings
from service.zoo import Member, find_members, shipped_zoo, usable
from supernet.checkpoint import Checkpoint, load_checkpoint


class LocalBuilder:
    """Makes models on this machine."""

    def __init__(self, catalog: Catalog, checkpoints: Mapping[str, Checkpoint]) -> None:
        self._catalog = catalog
        self._checkpoints = checkpoints

    def digest(self, scenario: Scenario) -> str:
        """Return the digest of a scenario.

        Raises:
            ScenarioInvalid: the supernet or device it asks for is not here.
            Refused: its device was not measured.
        """
        digest = self._catalog.digest(scenario, self._catalog.card(scenario))
        if digest is None:
            raise Refused("not-ready", "the device is not measured")
        return digest

    def build(self, scenario: Scenario) -> Iterator[Phase | Assembly]:
        """Yield the phases as they begin, then the Assembly."""
        card = self._catalog.card(scenario)
        profile = self._catalog.profile(self._catalog.device(scenario.device), card)
        if profile is None:
            raise Refused("not-ready", "the device is not measured")
        return assemble(scenario, self._checkpoints[card.name], self._catalog.estimator(card), profile)


def load_builder(settings: Settings) -> LocalBuilder:
    """Load every checkpoint, measure this machine where that was not done yet, and return the builder.

    Raises:
        CheckpointDamaged, DataInvalid, ProfileDamaged: a file is not as it must be.
        DataMissing: a checkpoint takes its images from a data set that is not at hand.
        SettingInvalid: a GPU is asked for and there is none.
        ProfileUnsaved: the data folder cannot be written.
        MeasurementFailed: models cannot be run here now.
    """
    members = find_members((shipped_zoo(), *settings.supernets), settings.datasets)
    catalog = Catalog(settings.data_dir, members)
    device = _torch_device(settings.torch_device)
    torch.set_num_threads(1)  # candidates are cut on threads of their own, see assembler/candidate.py
    checkpoints = {
        one.card.name: load_checkpoint(one.folder, device, settings.datasets) for one in usable(members)
    }
    for one in usable(members):
        for target in DEVICES:
            if target.measured_here:
                _measure(one, target, settings)
    catalog.load()
    _warm_up()
    return LocalBuilder(catalog, checkpoints)


def _measure(member: Member, device: Device, settings: Settings) -> None:
    """Measure a device for a supernet unless that was done, with a line of progress on stderr."""
    started, said = time.monotonic(), -1
    name = f"measuring {device.name} for {member.card.name}"
    for step in ensure_profile(member.card, settings.data_dir, device):
        if isinstance(step, Progress):
            quarter = int(4 * step.done / step.total)
            if quarter > said:
                said = quarter
                print(f"{name}: {25 * quarter} %", file=sys.stderr, flush=True)
        elif said >= 0:
            print(f"{name}: done in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


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


def _warm_up() -> None:
    """Load what a first job would wait seconds for: torch imports its solvers when one is made."""
    draw = np.random.default_rng(0)
    features = draw.random((8, 4), dtype=np.float32)
    refit_head(features, np.arange(8) % 2, np.zeros((2, 4), np.float32), np.zeros(2, np.float32))
