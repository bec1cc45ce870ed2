"""Downloads from servers that break off, lie, or have no end."""

import base64
import fcntl
import hashlib
import re
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.calls.parts import Part
from service.client import (
    AnswerInvalid,
    ArgumentInvalid,
    DigestMismatch,
    DownloadBusy,
    DownloadError,
    Patience,
    ProblemError,
    SignatureInvalid,
    Unreachable,
)
from service.reports import Figures
from service.schemas import ArtifactView, ReportsView, ReportView
from service.settings import Settings
from service.signing import open_signer
from tests.service.both import Ask, asked_for, blocking, both
from tests.service.rude import Answer, Request, answer, cut, problem, serving

CONTENT = hashlib.shake_256(b"a model").digest(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TAG = f'"{SHA256}"'
ARTIFACT = ArtifactView(
    id="art_1", kind="model", format="onnx", precision="fp32", bytes=len(CONTENT), sha256=SHA256
)
SHORT = Patience(total_s=0.2, base_s=0.01, cap_s=0.02)


def start_of(request: Request) -> int:
    found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", "bytes=0-"))
    assert found
    return int(found[1])


def honest(stop: int | None = None, content: bytes = CONTENT, tag: str = TAG) -> Answer:
    """Serve ranges as the service does, but cut the connection before the byte ``stop``."""

    def say(connection: socket.socket, request: Request) -> None:
        start, size = start_of(request), len(content)
        headers = {"ETag": tag, "Content_Type": "application/octet-stream"}
        if "range" in request.headers:
            headers["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
        body = content[start:] if stop is None else content[start : max(start, stop)]
        connection.sendall(
            answer(206 if "range" in request.headers else 200, body, length=size - start, **headers)
        )

    return say


def part_of(path: Path) -> Path:
    return Part(path, SHA256).place


@both
def test_a_download_that_breaks_off_goes_on_where_it_was(ask: Ask, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with serving(honest(100_000), cut, honest(100_000), honest(250_000), honest()) as rude:
        path = ask(
            rude.url,
            "download",
            ARTIFACT,
            tmp_path / "m",
            progress=lambda here, size: told.append((here, size)),
        )
    assert path.read_bytes() == CONTENT
    assert [one.headers.get("range") for one in rude.asked] == [
        None,
        "bytes=100000-",
        "bytes=100000-",
        "bytes=100000-",
        "bytes=250000-",
    ]
    assert {one.headers.get("if-range") for one in rude.asked[1:]} == {TAG}
    assert {one.headers["accept-encoding"] for one in rude.asked} == {"identity"}
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == [path]


@both
def test_a_file_is_kept_only_with_the_signature_of_a_key(ask: Ask, tmp_path: Path) -> None:
    signer, other = (open_signer(Settings(data_dir=tmp_path / name)) for name in ("a", "b"))
    assert signer is not None
    assert other is not None
    place = tmp_path / "new" / "m"
    place.parent.mkdir()

    def say(connection: socket.socket, request: Request) -> None:
        if request.path.endswith("/signature"):
            connection.sendall(answer(200, signer.sign(CONTENT)))
        else:
            honest()(connection, request)

    with serving(say) as rude:
        for _ in range(2):
            with pytest.raises(SignatureInvalid, match="art_1"):
                ask(rude.url, "download", ARTIFACT, place, public_key=other.public_pem)
            assert list(place.parent.iterdir()) == []
        ask(rude.url, "download", ARTIFACT, place, public_key=signer.public_pem)
        assert place.read_bytes() == CONTENT
        with pytest.raises(SignatureInvalid):
            ask(rude.url, "download", ARTIFACT, place, public_key=other.public_pem)
        asked = len(rude.asked)
        with pytest.raises(ArgumentInvalid, match="public key"):
            ask(rude.url, "download", ARTIFACT, place, public_key="no key")
        assert len(rude.asked) == asked


@both
def test_what_is_there_is_kept_for_a_later_call(ask: Ask, tmp_path: Path) -> None:
    with serving(honest(100_000), cut) as rude, pytest.raises(Unreachable):
        ask(rude.url, "download", ARTIFACT, tmp_path / "m", patience=SHORT)
    assert list(tmp_path.iterdir()) == [part_of(tmp_path / "m")]
    with serving(honest()) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert rude.asked[0].headers["range"] == "bytes=100000-"
    assert (tmp_path / "m").read_bytes() == CONTENT


@both
def test_a_whole_part_only_has_to_be_moved(ask: Ask, tmp_path: Path) -> None:
    part_of(tmp_path / "m").write_bytes(CONTENT)
    with serving(cut) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert rude.asked == []
    assert (tmp_path / "m").read_bytes() == CONTENT


@both
@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), b"x" * 400_000])
def test_a_part_that_is_wrong_is_fetched_anew(ask: Ask, tmp_path: Path, left: bytes) -> None:
    part_of(tmp_path / "m").write_bytes(left)
    with serving(honest()) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert rude.asked[-1].headers.get("range") is None


@both
def test_another_file_is_never_put_in_place(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"the old one")
    wrong = CONTENT[:-1] + b"\0"
    with serving(honest(content=wrong, tag='"weak"')) as rude, pytest.raises(DigestMismatch) as found:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert (found.value.expected, found.value.found) == (SHA256, hashlib.sha256(wrong).hexdigest())
    assert (tmp_path / "m").read_bytes() == b"the old one"
    assert len(list(tmp_path.iterdir())) == 1


@both
@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{"0" * 64}"'},
        {"Repr_Digest": f"sha-512=:x:, sha-256=:{base64.b64encode(bytes(32)).decode()}:"},
    ],
)
def test_a_header_that_names_another_file_is_enough(
    ask: Ask, tmp_path: Path, headers: dict[str, str]
) -> None:
    with serving(answer(body=CONTENT, **headers)) as rude, pytest.raises(DigestMismatch) as found:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert found.value.found == "0" * 64
    assert list(tmp_path.iterdir()) == []


@both
@pytest.mark.parametrize("length", [1000, 400_000])
def test_a_length_that_is_a_lie_does_no_harm(ask: Ask, tmp_path: Path, length: int) -> None:
    with serving(answer(body=CONTENT, length=length, ETag=TAG), honest()) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


@both
def test_a_file_without_an_end_is_left(ask: Ask, tmp_path: Path) -> None:
    def endless(connection: socket.socket, request: Request) -> None:
        connection.sendall(answer(length=-1))
        while True:
            connection.sendall(CONTENT)

    with serving(endless) as rude, pytest.raises(DownloadError, match="more than its 300000 bytes"):
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@both
def test_a_server_that_knows_no_ranges_gives_the_whole(ask: Ask, tmp_path: Path) -> None:
    whole = answer(body=CONTENT, ETag=TAG)
    with serving(honest(100_000), whole) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT


@both
@pytest.mark.parametrize(
    "wrong",
    [
        answer(206, CONTENT, Content_Range="bytes 0-299999/300000"),
        answer(206, CONTENT[7:], Content_Range="bytes 7-299999/300000"),
        answer(206, CONTENT[100_000:], Content_Range="bytes 100000-299999/300001"),
        answer(206, CONTENT[100_000:]),
        problem(416, "range-not-satisfiable"),
    ],
)
def test_another_part_than_was_asked_for_is_not_taken(ask: Ask, tmp_path: Path, wrong: bytes) -> None:
    with serving(honest(100_000), wrong, honest()) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert [one.headers.get("range") for one in rude.asked] == [None, "bytes=100000-", None]


@both
def test_a_part_of_what_was_asked_for_as_a_whole_is_no_answer(ask: Ask, tmp_path: Path) -> None:
    part = answer(206, CONTENT[:10], Content_Range="bytes 0-9/300000")
    with serving(part) as rude, pytest.raises(AnswerInvalid):
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")


@both
def test_an_id_alone_is_enough(ask: Ask, tmp_path: Path) -> None:
    head = answer(206, CONTENT[:1], ETag=TAG, Content_Range="bytes 0-0/300000")
    with serving(problem(503, "storage-unavailable", True), head, honest()) as rude:
        ask(rude.url, "download", "art_1", tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert [one.headers.get("range") for one in rude.asked] == ["bytes=0-0", "bytes=0-0", None]
    with serving(answer(206, b"x", ETag='W/"x"')) as rude, pytest.raises(AnswerInvalid):
        ask(rude.url, "download", "art_1", tmp_path / "n")
    with serving(problem(404, "not-found")) as rude, pytest.raises(ProblemError, match="not-found"):
        ask(rude.url, "download", "art_1", tmp_path / "n")


@both
def test_a_place_that_cannot_be_written_is_told(ask: Ask, tmp_path: Path) -> None:
    with serving(honest()) as rude:
        for place in (tmp_path, Path(".."), Path("/")):
            with pytest.raises(ArgumentInvalid, match="folder"):
                ask(rude.url, "download", ARTIFACT, place)
        with pytest.raises(ArgumentInvalid, match="no folder"):
            ask(rude.url, "download", ARTIFACT, tmp_path / "none" / "m")
    assert rude.asked == []


@both
def test_two_downloads_do_not_write_one_part(ask: Ask, tmp_path: Path) -> None:
    with part_of(tmp_path / "m").open("wb") as other, serving(honest()) as rude:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadBusy):
            ask(rude.url, "download", ARTIFACT, tmp_path / "m")
    with serving(honest()) as rude:
        ask(rude.url, "download", ARTIFACT, tmp_path / "m")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1500), max_size=8), st.integers(0, 1500))
def test_wherever_it_breaks_off_the_file_is_the_same(stops: list[int], left: int) -> None:
    content = CONTENT[:1500]
    sha256 = hashlib.sha256(content).hexdigest()
    artifact = ARTIFACT.model_copy(update={"bytes": len(content), "sha256": sha256})
    tag = f'"{sha256}"'
    answers: list[Callable[..., Any] | bytes] = [honest(stop, content, tag) for stop in stops]
    with tempfile.TemporaryDirectory() as folder, serving(*answers, honest(None, content, tag)) as rude:
        path = Path(folder) / "m"
        Part(path, sha256).place.write_bytes(content[:left])
        blocking(rude.url, "download", artifact, path)
        assert path.read_bytes() == content
        assert len(list(path.parent.iterdir())) == 1


@both
def test_manifests_and_reports_are_sent_as_the_contract_has_them(ask: Ask) -> None:
    assert asked_for(ask, "manifest", ARTIFACT)[0] == "GET /artifacts/art_1/manifest"
    figures = Figures(accuracy=0.5).model_dump()
    told = ReportView(id="rpt_1", artifact_id="art_1", created_at="2026-01-02T00:00:00Z", **figures)
    pages = [ReportsView(reports=[told], next_page_token=token) for token in ("more", None)]
    with serving(*(answer(body=one.model_dump()) for one in (told, *pages))) as rude:
        assert ask(rude.url, "report", "art_1", {"accuracy": 0.5}).accuracy == 0.5
        found = ask(rude.url, "list_reports", "art_1")
    assert [one.id for one in found] == ["rpt_1", "rpt_1"]
    assert rude.asked[0].body == b'{"accuracy": 0.5}'
    path = "/artifacts/art_1/reports"
    assert rude.paths == [
        f"POST {path}",
        f"GET {path}?page_size=200",
        f"GET {path}?page_size=200&page_token=more",
    ]
