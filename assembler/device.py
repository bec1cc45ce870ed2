"""Device: one edge target, and the Profile that says what a supernet costs on it.

Legend: L blocks, M modules of a block. MB = 10^6 bytes.
"""

import hashlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assembler.errors import ProfileDamaged, ProfileUnsaved
from supernet.card import Architecture, Card, Digested

RUNTIME = "onnxruntime"
FOLDER = "profiles"
DEVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# The instruction sets that decide which kernels the runtime picks.
ISA_FLAGS = re.compile(r"avx\w*|amx\w*|fma|f16c|asimd\w*|sve\w*|i8mm|bf16")

Figure = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Frozen(BaseModel):
    """Base of the values of this file: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Device(Frozen):
    """One edge target: where models run, by which runtime, on how many threads."""

    name: str = Field(pattern=f"^{DEVICE_NAME.pattern}$")
    title: str
    runtime: str = RUNTIME
    threads: int = Field(ge=1)
    measured_here: bool = Field(description="whether it is the machine this program runs on")


LOCAL = Device(name="local", title="This machine, one thread", threads=1, measured_here=True)
DEVICES = (LOCAL,)


class Machine(Frozen):
    """What a measurement depends on besides the model: runtime and processor."""

    runtime: str
    runtime_version: str
    cpu: str
    isa: tuple[str, ...]


class LatencyFit(Frozen):
    """latency = scale * (sum over blocks of table[l][modules on]) + offset_ms.

    ``table[l][n]`` is what the first n modules of block l add to the block without any, so entry 0 is 0;
    stem, trunk, neck and head, which are always on, are in the offset.
    """

    table: tuple[tuple[Figure, ...], ...] = Field(description="L rows of M + 1 figures, ms")
    scale: Figure
    offset_ms: Figure
    margin: Figure = Field(
        description="95th percentile of (measured - predicted) / predicted on nets not fitted"
    )

    @model_validator(mode="after")
    def _never_falls(self) -> "LatencyFit":
        for row in self.table:
            if not row or any(more < less for less, more in pairwise(row)):
                raise ValueError("a row of the latency table falls: more modules would cost less")
        return self

    def predict_ms(self, counts: Sequence[int]) -> float:
        """Return the latency of a net with ``counts`` modules on in each block, in ms."""
        return self.scale * sum(row[n] for row, n in zip(self.table, counts, strict=True)) + self.offset_ms


class MemoryFit(Frozen):
    """memory = base_mb + per_size * file size + per_activation * peak of live activations, all in MB."""

    base_mb: Figure
    per_size: Figure
    per_activation: Figure
    margin: Figure = Field(
        description="95th percentile of (measured - predicted) / predicted on nets not fitted"
    )

    def predict_mb(self, size_bytes: int, activation_bytes: int) -> float:
        """Return the memory of a net with this file size and this peak of live activations, in MB."""
        return (
            self.base_mb + self.per_size * (size_bytes / 1e6) + self.per_activation * (activation_bytes / 1e6)
        )


class Quality(Frozen):
    """How well the fits foretold random nets that were left out of them."""

    nets: int = Field(ge=0, description="random nets the latency was tried on")
    latency_mape: Figure = Field(description="mean absolute relative error, 0..1")
    latency_within_tenth: Figure = Field(description="share of nets with an error of at most 10 %, 0..1")
    memory_nets: int = Field(ge=0)
    memory_mape: Figure = Field(description="mean absolute relative error, 0..1")
    duration_s: Figure


class ShrunkFit(Frozen):
    """The latency of nets that shrink their image to a square of ``side`` px first."""

    side: int
    latency: LatencyFit


class Profile(Digested):
    """What the nets of one supernet cost on one device."""

    device: str
    machine: Machine
    threads: int = Field(ge=1)
    supernet: str = Field(description="digest of the Card it was measured for")
    measured_at: datetime
    latency: LatencyFit
    shrunk: tuple[ShrunkFit, ...] = ()
    memory: MemoryFit
    quality: Quality

    def at(self, side: int | None) -> "Profile":
        """Return the profile of nets that shrink their image to ``side`` px first; None is the whole image."""
        if side is None:
            return self
        return self.model_copy(update={"latency": self.latency_at(side), "shrunk": ()})

    def latency_at(self, side: int | None) -> LatencyFit:
        """Return the latency of nets that shrink their image to ``side`` px first; None is the whole image."""
        if side is None:
            return self.latency
        return next(fit.latency for fit in self.shrunk if fit.side == side)

    @cached_property
    def digest(self) -> str:
        """The profile's version: sha256, hexadecimal, of everything in it."""
        # Without what has its default value: a file keeps its digest when a figure is added that it does not have.
        facts = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()

    def suits(self, architecture: Architecture) -> bool:
        """Return whether the latency tables have the architecture's shape, at every side."""
        fits = (self.latency, *(fit.latency for fit in self.shrunk))
        shapes = {tuple(len(row) - 1 for row in fit.table) for fit in fits}
        return (
            shapes == {architecture.modules} and tuple(fit.side for fit in self.shrunk) == architecture.sides
        )


class StoredProfile(Frozen):
    """A profile file: the profile and the digest that proves it whole."""

    digest: str = Field(description="of the profile, as `nnfactory measure` wrote it")
    profile: Profile


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """Return runtime and processor of the machine this runs on, without loading the runtime."""
    facts: dict[str, str] = {}
    if (info := Path("/proc/cpuinfo")).exists():
        for line in info.read_text(errors="replace").partition("\n\n")[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    # x86 names itself; Arm gives numbers only. Both are needed: clouds hide the exact model behind one name.
    keys = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    cpu = (
        " / ".join(facts[key] for key in keys if facts.get(key)) or platform.processor() or platform.machine()
    )
    flags = facts.get("flags", facts.get("Features", "")).split()
    isa = tuple(sorted(flag for flag in flags if ISA_FLAGS.fullmatch(flag)))
    return Machine(runtime=RUNTIME, runtime_version=metadata.version(RUNTIME), cpu=cpu, isa=isa)


def is_current(profile: Profile, card: Card, device: Device = LOCAL, machine: Machine | None = None) -> bool:
    """Return whether a profile still speaks of this supernet on a machine, its runtime and threads.

    Args:
        profile: of the device.
        card: of the supernet.
        device: the device.
        machine: None for this one.
    """
    return (
        profile.device == device.name
        and profile.threads == device.threads
        and profile.supernet == card.digest
        and profile.machine == (machine or this_machine())
    )


def profile_path(data_dir: Path, device: str, supernet: str) -> Path:
    """Return the file that holds the profile of a device for the supernet with this digest."""
    return data_dir / FOLDER / f"{device}-{supernet[:16]}.json"


def check_writable(data_dir: Path) -> None:
    """Check that profiles can be kept in a data folder, by writing and removing a small file.

    Raises:
        ProfileUnsaved: they cannot.
    """
    _write(data_dir / FOLDER / "check", b"1", keep=False)


def save_profile(profile: Profile, data_dir: Path) -> Path:
    """Write a profile and return its path; a reader sees the old file or the new one, never half of one.

    Raises:
        ProfileUnsaved: it cannot be written.
    """
    path = profile_path(data_dir, profile.device, profile.supernet)
    content = StoredProfile(digest=profile.digest, profile=profile).model_dump_json(indent=1).encode() + b"\n"
    _write(path, content)
    return path


def _write(path: Path, content: bytes, *, keep: bool = True) -> None:
    """Write a file whole or not at all; without ``keep``, only try whether that can be done."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            Path(temporary).replace(path)
    except OSError as error:
        raise ProfileUnsaved(path.parent, error.strerror or "unknown reason") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def load_profile(path: Path, architecture: Architecture) -> Profile:
    """Read a profile file.

    Raises:
        ProfileDamaged: it cannot be read, is not a profile, was changed after it was written, or has the
            shape of another architecture.
    """
    try:
        stored = StoredProfile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ProfileDamaged(path, f"it cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"]) or "the document"
        raise ProfileDamaged(path, f"it is not a profile ({where}: {first['msg']})") from error
    if stored.digest != stored.profile.digest:
        raise ProfileDamaged(path, "its figures do not match its digest")
    if not stored.profile.suits(architecture):
        raise ProfileDamaged(path, "its latency table has the shape of another supernet")
    return stored.profile
