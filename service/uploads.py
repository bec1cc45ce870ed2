"""Uploads: what ``nnfactory measure`` wrote on a device, read strictly, and every fault named by its field."""

import json
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from assembler.device import (
    Device,
    LatencyFit,
    Machine,
    MemoryFit,
    Profile,
    Quality,
    ShrunkFit,
    StoredProfile,
)
from assembler.errors import FieldProblem
from assembler.scenario import MAX_PROBLEMS, misspelt_first, unknown_field
from assembler.strict import parse_json, pointer, unsafe_strings
from service.devices import BUILT_IN
from service.errors import Refused
from supernet.card import Architecture, Card

CODE = "profile-invalid"
MAX_BYTES = 256 * 1024
# What a device can have: what foretells with other figures would leave the numbers that can be computed with.
LEAST, MOST = 1e-6, 1e6
# A profile this far off foretells nothing.
MOST_OFF = 10.0
# What the objects of a file are, by the fields that hold them.
PARTS: dict[int | str, type[BaseModel]] = {
    "profile": Profile,
    "machine": Machine,
    "latency": LatencyFit,
    "shrunk": ShrunkFit,
    "memory": MemoryFit,
    "quality": Quality,
}


def parse_profile(raw: bytes, device: Device, cards: Sequence[Card]) -> Profile:
    """Return what was measured on a device, under the device's name.

    Args:
        raw: content of a file that ``nnfactory measure`` wrote; there the device is called ``local``.
        device: it must be of.
        cards: of the supernets at hand, one of which it must be of.

    Raises:
        MalformedJson: it is not strict JSON.
        Refused: ``profile-invalid``; each field that cannot be used is named, up to 20 of them.
    """
    document = parse_json(raw)
    faults = tuple(FieldProblem(one.pointer, CODE, one.detail) for one in unsafe_strings(document))
    if faults:
        raise _refused(faults)
    try:
        stored = StoredProfile.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        details = misspelt_first(error.errors(include_url=False, include_input=False))
        raise _refused([_problem(detail) for detail in details[:MAX_PROBLEMS]]) from None
    if stored.digest != stored.profile.digest:
        raise refused("/digest", "is not that of the profile, which was changed since it was written")
    profile = stored.profile
    faults = tuple(_faults_of(profile, device, cards))
    if faults:
        raise _refused(faults)
    return profile.model_copy(update={"device": device.name})


def refused(where: str, detail: str) -> Refused:
    """Return the refusal of a profile for one field, or as a whole."""
    return _refused([_fault(where, detail)])


def _refused(faults: Sequence[FieldProblem]) -> Refused:
    first = faults[0]
    return Refused(CODE, f"{first.pointer or 'the profile'}: {first.detail}", tuple(faults))


def _faults_of(profile: Profile, device: Device, cards: Sequence[Card]) -> Iterator[FieldProblem]:
    """Yield why a profile is of no use on a device."""
    if profile.device not in (*BUILT_IN, device.name):
        yield _fault("/profile/device", "must be local, as it is measured, or the name of the device")
    if profile.threads != device.threads:
        yield _fault("/profile/threads", f"must be {device.threads}, as many as the device has")
    if profile.machine.runtime != device.runtime:
        yield _fault("/profile/machine/runtime", f"must be {device.runtime}, as the device has it")
    card = next((card for card in cards if card.digest == profile.supernet), None)
    if card is None:
        yield _fault("/profile/supernet", "is the digest of no supernet that is at hand here")
        return
    if not profile.suits(card.architecture):
        yield _fault("/profile/latency/table", "has the shape of another supernet")
        return
    yield from _beyond_latency(profile.latency, "/profile/latency", card.architecture)
    for place, shrunk in enumerate(profile.shrunk):
        yield from _beyond_latency(shrunk.latency, f"/profile/shrunk/{place}/latency", card.architecture)
    yield from _beyond_memory(profile.memory, "/profile/memory")


def _beyond_latency(fit: LatencyFit, where: str, architecture: Architecture) -> Iterator[FieldProblem]:
    """Yield what is beyond all devices in the latency of networks; sums may be infinite, or no number."""
    yield from _beyond(where, scale=fit.scale)
    if not max(row[-1] for row in fit.table) <= MOST:
        yield _fault(f"{where}/table", f"must hold numbers of at most {MOST:g}")
    elif not fit.predict_ms([0] * len(architecture.modules)) >= LEAST:
        yield _fault(f"{where}/offset_ms", f"must leave a network without modules at least {LEAST:g} ms")
    elif not fit.predict_ms(architecture.modules) <= MOST:
        yield _fault(f"{where}/table", f"must add up to at most {MOST:g} ms")
    yield from _off(fit.margin, where)


def _beyond_memory(fit: MemoryFit, where: str) -> Iterator[FieldProblem]:
    """Yield what is beyond all devices in the memory that networks need."""
    figures = {"base_mb": fit.base_mb, "per_size": fit.per_size, "per_activation": fit.per_activation}
    yield from _beyond(where, **figures)
    if not any(figures.values()):
        yield _fault(f"{where}/base_mb", "must not be 0 where nothing else takes memory")
    yield from _off(fit.margin, where)


def _beyond(where: str, **figures: float) -> Iterator[FieldProblem]:
    for name, value in figures.items():
        if value and not LEAST <= value <= MOST:
            yield _fault(f"{where}/{name}", f"must be 0, or between {LEAST:g} and {MOST:g}")


def _off(margin: float, where: str) -> Iterator[FieldProblem]:
    if margin > MOST_OFF:
        yield _fault(f"{where}/margin", f"must be at most {MOST_OFF:g}")


def _fault(where: str, detail: str) -> FieldProblem:
    return FieldProblem(where, CODE, detail)


def _problem(error: ErrorDetails) -> FieldProblem:
    """Translate one finding of pydantic; its message is used only where it is our own."""
    if error["type"] == "extra_forbidden":
        *above, name = error["loc"]
        return _fault(pointer(*error["loc"]), unknown_field(name, _fields_at(above)))
    context = error.get("ctx", {})
    known = {
        "missing": "is required",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "int_type": "must be a whole number",
        "string_type": "must be a string",
        "tuple_type": "must be a list",
        "model_type": "must be an object",
        "model_attributes_type": "must be an object",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "value_error": error["msg"].removeprefix("Value error, "),
    }
    return _fault(pointer(*error["loc"]), known.get(error["type"], "is not valid"))


def _fields_at(at: Sequence[int | str]) -> list[str]:
    """Return the names of fields that are known at a place of a document."""
    model = next((PARTS[part] for part in reversed(at) if part in PARTS), StoredProfile)
    return list(model.model_fields)
