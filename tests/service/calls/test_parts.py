"""Parts of files that are being downloaded."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calls.errors import DownloadBusy
from service.calls.parts import Part, holds


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(0, 400))
def test_a_part_knows_the_digest_of_all_that_came_however_often_it_was_opened(
    chunks: list[bytes], limit_bytes: int
) -> None:
    content = b"".join(chunks)
    with tempfile.TemporaryDirectory() as folder:
        for chunk in chunks:
            part = Part(Path(folder) / "m", "0" * 64)
            part.open(len(content))
            part.append(chunk)
            part.close()
        part = Part(Path(folder) / "m", "0" * 64)
        part.open(limit_bytes)
        kept = content if len(content) <= limit_bytes else b""
        assert (part.size, part.sha256()) == (len(kept), hashlib.sha256(kept).hexdigest())
        assert part.joined == (kept != b"")
        part.close()


def test_what_is_finished_stands_in_its_place_alone(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"old")
    part = Part(tmp_path / "m", "0" * 64)
    part.open(10)
    part.append(b"wrong")
    part.clear()
    part.append(b"new")
    part.finish()
    part.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"m": b"new"}
    assert holds(tmp_path / "m", hashlib.sha256(b"new").hexdigest(), 3)
    assert not holds(tmp_path / "m", hashlib.sha256(b"new").hexdigest(), 4)
    assert not holds(tmp_path / "m", "0" * 64, 3)
    assert not holds(tmp_path / "n", "0" * 64, 3)


def test_a_part_belongs_to_who_has_it_open(tmp_path: Path) -> None:
    first, second = Part(tmp_path / "m", "0" * 64), Part(tmp_path / "m", "0" * 64)
    first.open(10)
    with pytest.raises(DownloadBusy, match="another process"):
        second.open(10)
    other = Part(tmp_path / "m", "1" * 64)
    other.open(10)
    other.close()
    first.close()
    second.open(10)
    second.close()
