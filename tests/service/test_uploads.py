"""What was measured on a device is read strictly."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from assembler.device import Device, LatencyFit, MemoryFit, Profile, StoredProfile, load_profile, save_profile
from assembler.errors import MalformedJson
from assembler.scenario import MAX_PROBLEMS
from service.errors import CODES, Refused
from service.uploads import parse_profile
from tests.service.making import make_card, make_profile
from tests.shapes import SMALL

CARD = make_card()
PI = Device(name="pi", title="A small computer", threads=1, measured_here=False)
Change = Callable[[dict[str, Any]], object]


def document(profile: Profile) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        StoredProfile(digest=profile.digest, profile=profile).model_dump_json()
    )
    return found


def refusal(raw: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_profile(raw, PI, [CARD])
    assert caught.value.code == "profile-invalid"
    return caught.value


def pointers(raw: bytes) -> list[str]:
    return [problem.pointer for problem in refusal(raw).problems]


def test_a_measured_file_is_read_under_the_name_of_its_device(tmp_path: Any) -> None:
    measured = make_profile(CARD)
    raw = save_profile(measured, tmp_path).read_bytes()
    found = parse_profile(raw, PI, [make_card("shoes"), CARD])
    assert found == measured.model_copy(update={"device": "pi"})
    assert found.digest != measured.digest


def test_what_was_read_under_the_devices_name_is_read_again_as_the_same(tmp_path: Any) -> None:
    mine = make_profile(CARD).model_copy(update={"device": "pi"})
    path = save_profile(mine, tmp_path)
    assert load_profile(path, SMALL) == mine
    assert parse_profile(path.read_bytes(), PI, [CARD]) == mine


def wrong(**fields: Any) -> bytes:
    """Return a profile with other fields, and the digest that belongs to it."""
    return json.dumps(document(make_profile(CARD).model_copy(update=fields))).encode()


def latency(**fields: Any) -> LatencyFit:
    return make_profile(CARD).latency.model_copy(update=fields)


def memory(**fields: Any) -> MemoryFit:
    return make_profile(CARD).memory.model_copy(update=fields)


def large(most: float) -> tuple[tuple[float, ...], ...]:
    """Return a table whose last entries are so large."""
    return tuple((*row[:-1], most) for row in make_profile(CARD).latency.table)


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (wrong(device="camera"), "/profile/device"),
        (wrong(threads=2), "/profile/threads"),
        (
            wrong(machine=make_profile(CARD).machine.model_copy(update={"runtime": "tflite"})),
            "/profile/machine/runtime",
        ),
        (wrong(supernet="0" * 64), "/profile/supernet"),
        (wrong(latency=latency(table=((0.0, 1.0),))), "/profile/latency/table"),
        (wrong(latency=latency(offset_ms=0.0)), "/profile/latency/offset_ms"),
        (wrong(latency=latency(offset_ms=1e-9)), "/profile/latency/offset_ms"),
        (wrong(latency=latency(scale=1e-300)), "/profile/latency/scale"),
        (wrong(latency=latency(table=large(1e7), scale=1e-3)), "/profile/latency/table"),
        (wrong(latency=latency(table=large(1e6), scale=2.0)), "/profile/latency/table"),
        (wrong(latency=latency(table=large(1.7e308))), "/profile/latency/table"),
        (wrong(latency=latency(margin=11.0)), "/profile/latency/margin"),
        (wrong(memory=memory(margin=11.0)), "/profile/memory/margin"),
        (wrong(memory=memory(per_size=1e10)), "/profile/memory/per_size"),
        (wrong(memory=memory(per_activation=1e-300)), "/profile/memory/per_activation"),
        (wrong(memory=memory(base_mb=0.0, per_size=0.0, per_activation=0.0)), "/profile/memory/base_mb"),
    ],
)
def test_what_is_of_no_use_on_the_device_is_named(raw: bytes, pointer: str) -> None:
    assert pointers(raw) == [pointer]


def put(*path: str | int, value: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        at: Any = found
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (put("digest", value="0" * 64), "/digest"),
        (put("digest", value=5), "/digest"),
        (lambda found: found.pop("digest"), "/digest"),
        (lambda found: found.pop("profile"), "/profile"),
        (put("profile", value=[]), "/profile"),
        (put("secret", value=1), "/secret"),
        (put("profile", "measured_at", value="yesterday"), "/profile/measured_at"),
        (put("profile", "threads", value="1"), "/profile/threads"),
        (put("profile", "threads", value=True), "/profile/threads"),
        (put("profile", "latency", "scale", value="1.0"), "/profile/latency/scale"),
        (put("profile", "latency", "scale", value=-1), "/profile/latency/scale"),
        (put("profile", "latency", "scale", value=True), "/profile/latency/scale"),
        (put("profile", "latency", "table", 0, 1, value=None), "/profile/latency/table/0/1"),
        (put("profile", "latency", "table", 0, 0, value=-0.1), "/profile/latency/table/0/0"),
        (put("profile", "latency", "table", 0, 0, value=99.0), "/profile/latency"),
        (put("profile", "latency", "x y", value=1), "/profile/latency"),
        (put("profile", "machine", "cpu", value="evil\0"), "/profile/machine/cpu"),
    ],
)
def test_a_field_that_breaks_the_schema_is_named(change: Change, pointer: str) -> None:
    found = document(make_profile(CARD))
    change(found)
    refused = refusal(json.dumps(found).encode())
    assert [problem.pointer for problem in refused.problems] == [pointer]
    assert "evil" not in refused.detail
    assert refused.detail.startswith(pointer)
    assert refused.code in CODES


def test_a_number_beyond_all_is_not_finite() -> None:
    raw = json.dumps(document(make_profile(CARD))).replace('"scale": 1.0', '"scale": 1e999', 1)
    assert pointers(raw.encode()) == ["/profile/latency/scale"]


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"digest": NaN}', b'{"digest": 1, "digest": 2}'])
def test_what_is_no_strict_json_is_told_as_everywhere(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_profile(raw, PI, [CARD])


@pytest.mark.parametrize("raw", [b"[]", b"null", b"5", b'"x"'])
def test_what_is_no_object_is_refused_as_a_whole(raw: bytes) -> None:
    assert pointers(raw) == [""]


def test_not_more_faults_are_told_than_somebody_reads() -> None:
    found = document(make_profile(CARD))
    found["profile"]["latency"]["table"] = [["x"] * 1000]
    assert len(refusal(json.dumps(found).encode()).problems) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (
            lambda one: one.update(digset=one.pop("digest")),
            '/digset: this field is unknown; did you mean "digest"?',
        ),
        (
            lambda one: one["profile"].update(threds=one["profile"].pop("threads")),
            '/profile/threds: this field is unknown; did you mean "threads"?',
        ),
        (
            lambda one: one["profile"]["shrunk"][0]["latency"].update(scael=1.0),
            '/profile/shrunk/0/latency/scael: this field is unknown; did you mean "scale"?',
        ),
    ],
)
def test_a_field_that_is_misspelt_is_answered_with_the_one_that_may_be_meant(
    change: Change, detail: str
) -> None:
    found = document(make_profile(CARD))
    change(found)
    assert refusal(json.dumps(found).encode()).detail == detail
