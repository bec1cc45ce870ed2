"""The catalogue: what can be asked for, and what the HTTP process knows of it without torch."""

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assembler.artifact import Estimate
from assembler.cost import cost_of
from assembler.device import DEVICES, Device, Profile, is_current, load_profile, profile_path
from assembler.errors import FieldProblem, ProfileDamaged, ScenarioInvalid
from assembler.estimate import estimate
from assembler.manifest import toolchain
from assembler.pareto import Front, front
from assembler.propose import Estimator
from assembler.scenario import MEDIAN, Scenario, Survey, did_you_mean, resolve, scenario_digest
from service.devices import NONE, Own
from service.errors import Refused
from service.fronts import Fronts
from service.hints import hinted
from service.shelf import Shelf
from service.zoo import LeftOut, Member, usable
from supernet.card import Card
from supernet.errors import CheckpointDamaged
from supernet.gates import full_gates

RETRY_S = 2
# The file of a profile that is whole is looked at so often: every request asks for one.
LOOK_S = 0.1

log = logging.getLogger(__name__)


class Catalog:
    """Supernets, devices, and the profiles that the worker measures; safe to share between threads."""

    def __init__(
        self, data_dir: Path, members: Sequence[Member], shelf: Shelf | None = None, *, alone: bool = True
    ) -> None:
        """Start with some supernets.

        Args:
            data_dir: where profiles are kept.
            members: the supernets.
            shelf: where they came from, to look there again; None keeps to them.
            alone: whether models are measured on this machine, not on others that share their profiles.
        """
        self._alone = alone
        self._shelf = shelf
        self._take(members, _told(shelf) if shelf else {})
        self._data_dir = data_dir
        self._lock = threading.Lock()
        self._estimators: dict[str, Estimator] = {}
        self._profiles: dict[tuple[str, str], tuple[_Known, float]] = {}
        self._toolchain = toolchain()
        self._fronts = Fronts()

    def check(self) -> None:
        """Read the profiles that are there.

        Raises:
            ProfileDamaged: a file is not whole.
        """
        for device in DEVICES:
            for member in self.members:
                path = profile_path(self._data_dir, device.name, member.card.digest)
                if path.exists():
                    load_profile(path, member.card.architecture)

    def load(self) -> None:
        """Load what a check needs, so that the first one is as fast as the others.

        Raises:
            CheckpointDamaged: the networks that predict cannot be loaded.
        """
        with self._lock:
            for member in self.members:
                if member.card.digest not in self._estimators:
                    self._estimators[member.card.digest] = _load_estimator(member)

    def look(self) -> bool:
        """Look for supernets that are new, changed or gone; return whether there are any."""
        if self._shelf is None or not self._shelf.look():
            return False
        sound, faults = [], _told(self._shelf)
        for member in self._shelf.members:
            try:
                if not member.lacks and member.card.digest not in self._estimators:
                    self._estimators[member.card.digest] = _load_estimator(member)
                sound.append(member)
            except CheckpointDamaged as error:
                log.error("left out: %s", error)
                faults[member.folder.name] = str(error)
        self._take(sound, faults)
        return True

    def _take(self, members: Sequence[Member], faults: Mapping[str, str]) -> None:
        """Hold some supernets from now on; of folders with a fault the reason is told."""
        self.members = usable(members)
        self._lacking = tuple(member for member in members if member.lacks)
        self.left_out = (
            *(LeftOut(one.card.name, one.card.kind.value, one.lacks) for one in self._lacking),
            *(LeftOut(name, None, fault) for name, fault in sorted(faults.items())),
        )

    def card(self, scenario: Scenario, own: Own = NONE) -> Card:
        """Return the Card a scenario is cut out of.

        Args:
            scenario: what is asked for.
            own: devices of who asks.

        Raises:
            ScenarioInvalid: as ``resolve`` says, and ``unknown-device``. Where another supernet knows the classes,
                the detail names it, and what it lacks if it is left out.
        """
        device = self.device(scenario.device, own, pointer="/device")
        if not device.measured_here and scenario.limits.latency_percentile != MEDIAN:
            detail = "only the median is foretold, and nothing is timed for a device that is elsewhere"
            where = "/limits/latency_percentile"
            raise ScenarioInvalid(
                "scenario-invalid", f"{where}: {detail}", (FieldProblem(where, "scenario-invalid", detail),)
            )
        cards = [member.card for member in self.members]
        try:
            return resolve(scenario, cards)
        except ScenarioInvalid as error:
            raise hinted(error, scenario, cards, self._lacking) from None

    def device(self, name: str, own: Own = NONE, *, pointer: str = "") -> Device:
        """Return a device, built in or of who asks.

        Raises:
            ScenarioInvalid: there is none of this name.
        """
        for device in DEVICES:
            if device.name == name:
                return device
        if (made := own.find(name)) is not None:
            return made.device
        known = [*(device.name for device in DEVICES), *own.names]
        detail = f"there is no device of this name{did_you_mean(name, known)}"
        raise ScenarioInvalid("unknown-device", detail, (FieldProblem(pointer, "unknown-device", detail),))

    def profile(self, device: Device, card: Card) -> Profile | None:
        """Return what the supernet costs on the device, or None while it is being measured.

        A profile of another processor or runtime than this machine's counts as none, unless other machines measure.
        While the file is damaged or gone, the last one read from it goes on being used.

        Raises:
            Refused: ``not-ready``, the file is damaged and was never read before.
        """
        known = self._look(device, card)
        profile = known.profile
        if profile is None and known.fault:
            detail = "the profile of this device cannot be used; the service must measure it again"
            raise Refused("not-ready", detail, headers={"Retry-After": str(RETRY_S)})
        if profile is None:
            return None
        machine = None if self._alone else profile.machine
        return profile if is_current(profile, card, device, machine) else None

    def any_usable(self) -> bool:
        """Return whether scenarios of some supernet can be met on some device now."""
        return any(
            self._look(device, member.card).fault is None and self.profile(device, member.card) is not None
            for device in DEVICES
            for member in self.members
        )

    def faults(self) -> list["Fault"]:
        """Return what keeps devices from being used, or will after the next start."""
        found = []
        for device in DEVICES:
            for member in self.members:
                fault = self._look(device, member.card).fault
                waits = fault is None and self.profile(device, member.card) is None
                if waits:
                    fault = "is not measured yet"
                if fault is not None:
                    found.append(Fault(f"{device.name} {fault} for {member.card.name}", waits))
        return found

    def _look(self, device: Device, card: Card) -> "_Known":
        """Return what the profile's file held last, after reading it when it has changed."""
        key = (device.name, card.digest)
        with self._lock:
            known, looked_at = self._profiles.get(key, (_Known(None, None, None), -math.inf))
            if known.sound and time.monotonic() - looked_at < LOOK_S:
                return known
            path = profile_path(self._data_dir, *key)
            stamp = _stamp(path)
            if stamp != known.stamp:
                known = _read(path, stamp, card, known.profile)
            self._profiles[key] = (known, time.monotonic())
        return known

    def digest(self, scenario: Scenario, card: Card, own: Own = NONE) -> str | None:
        """Return a scenario's digest, or None while its device is being measured.

        Raises:
            ScenarioInvalid: as ``profile_for`` says.
        """
        profile = self.profile_for(scenario, card, own)
        if profile is None:
            return None
        return scenario_digest(scenario, card.digest, profile.digest, self._toolchain)

    def profile_for(self, scenario: Scenario, card: Card, own: Own = NONE) -> Profile | None:
        """Return what the supernet costs on a scenario's device, or None while that is being measured.

        Raises:
            ScenarioInvalid: ``device-not-measured``, its owner has uploaded nothing for the supernet.
            Refused: as ``profile`` says.
        """
        made = own.find(scenario.device)
        if made is None:
            return self.profile(self.device(scenario.device), card)
        profile = made.profiles.get(card.digest)
        if profile is None:
            code, detail = (
                "device-not-measured",
                f"no profile of it was uploaded for the supernet {card.name}",
            )
            raise ScenarioInvalid(code, f"/device: {detail}", (FieldProblem("/device", code, detail),))
        return profile

    def estimate(self, scenario: Scenario, own: Own = NONE) -> Estimate:
        """Return the predicted figures of a scenario, or why it cannot be met.

        Raises:
            ScenarioInvalid: as ``card`` and ``profile_for`` say.
            Refused: ``not-ready`` while the device is being measured.
        """
        card, profile = self._measured(scenario, own)
        return estimate(scenario, card, self.estimator(card), profile)

    def front(self, survey: Survey, own: Own = NONE) -> Front:
        """Return what can be had within a survey's bounds; the same front is made once for a while.

        Raises:
            ScenarioInvalid, Refused: as ``estimate`` says.
        """
        card, profile = self._measured(survey, own)
        bounds = survey.limits
        key = (card.digest, profile.digest, survey.device, survey.task, bounds.memory_mb, bounds.size_mb)
        whole = self._fronts.get(key, lambda: front(survey, card, self.estimator(card), profile))
        return whole.within(bounds)

    def _measured(self, scenario: Scenario, own: Own) -> tuple[Card, Profile]:
        """Return the Card of a scenario and the profile of its device."""
        card = self.card(scenario, own)
        profile = self.profile_for(scenario, card, own)
        if profile is None:
            detail = "the device is still being measured; try again in a moment"
            raise Refused("not-ready", detail, headers={"Retry-After": str(RETRY_S)})
        return card, profile

    def estimator(self, card: Card) -> Estimator:
        """Return what predicts the models of a supernet."""
        if (found := self._estimators.get(card.digest)) is not None:
            return found
        with self._lock:
            if card.digest not in self._estimators:
                (member,) = [one for one in self.members if one.card.digest == card.digest]
                self._estimators[card.digest] = _load_estimator(member)
            return self._estimators[card.digest]

    def dense(self, card: Card, device: Device, own: Own = NONE) -> dict[str, float | None]:
        """Return the figures of a supernet's dense net on a device, unknown ones None."""
        made = own.find(device.name)
        profile = self.profile(device, card) if made is None else made.profiles.get(card.digest)
        accuracy = card.figures.dense_accuracy
        if profile is None:
            return {"latency_ms": None, "memory_mb": None, "size_mb": None, "accuracy": accuracy}
        counts = full_gates(card.architecture).counts
        cost = cost_of(card.architecture, counts, len(card.classes), profile)
        return {
            "latency_ms": round(cost.latency_ms, 4),
            "memory_mb": round(cost.memory_mb, 3),
            "size_mb": round(cost.size_mb, 4),
            "accuracy": accuracy,
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps a device from being used, a sentence, and whether it passes by itself."""

    detail: str
    waits: bool

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a profile's file: which one was seen, the last whole profile, what is wrong with it now."""

    stamp: tuple[int, ...] | None
    profile: Profile | None
    fault: str | None

    @property
    def sound(self) -> bool:
        """Whether there is a whole file."""
        return self.stamp is not None and self.fault is None


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what differs when a file was written again, None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, stamp: tuple[int, ...] | None, card: Card, last: Profile | None) -> _Known:
    if stamp is None:
        return _Known(None, last, "has lost its profile")
    try:
        return _Known(stamp, load_profile(path, card.architecture), None)
    except ProfileDamaged as error:
        log.error("%s", error)
        return _Known(stamp, last, "has a damaged profile")


def _told(shelf: Shelf) -> dict[str, str]:
    return {path.name: fault for path, fault in shelf.faults.items()}


def _load_estimator(member: Member) -> Estimator:
    try:
        return Estimator(member.folder, member.card)
    except Exception as error:  # the runtime's errors have no base of their own
        raise CheckpointDamaged(member.folder, "its assembler cannot be loaded") from error
