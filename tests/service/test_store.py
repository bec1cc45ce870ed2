import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import LEFT_AFTER_S, ContentDamaged, FileStore


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    return FileStore(tmp_path_factory.mktemp("store"))


@given(st.binary(max_size=5000))
def test_every_content_comes_back_by_its_sha256(lasting: FileStore, content: bytes) -> None:
    digest = lasting.put(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert lasting.get(digest) == content
    assert lasting.holds(digest)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_storing_twice_keeps_one_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert store.put(b"x") == store.put(b"x")
    assert len(files(tmp_path)) == 1


def test_a_damaged_file_is_noticed_and_written_anew(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    digest = store.put(b"whole")
    files(tmp_path)[0].write_bytes(b"torn")
    assert not store.holds(digest)
    with pytest.raises(ContentDamaged):
        store.get(digest)
    store.put(b"whole")
    assert store.get(digest) == b"whole"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        FileStore(tmp_path).put(b"x")
    assert files(tmp_path) == []


def test_what_killed_writers_left_is_cleared_and_what_is_being_written_stays(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    digest = store.put(b"x")
    fresh, left, probe = (
        tmp_path / digest[:2] / ".new-1",
        tmp_path / digest[:2] / ".new-2",
        tmp_path / ".check-1",
    )
    for path in (fresh, left, probe):
        path.write_bytes(b"half")
    for path in (left, probe, tmp_path / digest[:2] / digest):
        os.utime(path, (time.time() - 2 * LEFT_AFTER_S,) * 2)
    store.clear()
    assert set(files(tmp_path)) == {fresh, tmp_path / digest[:2] / digest}


def test_a_store_that_is_not_there_yet_has_nothing_to_clear(tmp_path: Path) -> None:
    FileStore(tmp_path / "new").clear()
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_and_the_folders_made_for_it_are_written_out_to_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    monkeypatch.setattr("os.fsync", lambda number: synced.add(os.fstat(number).st_ino))
    digest = FileStore(tmp_path / "data" / "store").put(b"x")
    path = tmp_path / "data" / "store" / digest[:2] / digest
    assert {one.stat().st_ino for one in (path, *list(path.parents)[:3])} <= synced


def test_what_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert not store.holds("0" * 64)
    with pytest.raises(FileNotFoundError):
        store.get("0" * 64)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "0" * 63, "A" * 64, "0" * 64 + "\n"])
def test_only_digests_become_paths(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        FileStore(tmp_path).get(digest)


def test_the_check_says_whether_the_store_can_be_written(tmp_path: Path) -> None:
    FileStore(tmp_path / "new").check()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        FileStore(tmp_path / "file").check()
    assert files(tmp_path / "new") == []
