import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import LEFT_AFTER_S, REMEMBERED, TICK_S, ContentDamaged, FileStore


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


def settle() -> None:
    """Wait until a change of a file can be told from those before."""
    time.sleep(2 * TICK_S)


def read_opened(store: FileStore, digest: str) -> bytes:
    with store.open(digest) as file:
        return os.pread(file.fileno(), 1_000_000, 0)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every file that is read whole."""
    read: list[str] = []
    whole = hashlib.file_digest
    monkeypatch.setattr("hashlib.file_digest", lambda *told: (read.append(told[1]), whole(*told))[1])
    return read


@given(st.binary(max_size=5000))
def test_every_content_can_be_opened_by_its_sha256(lasting: FileStore, content: bytes) -> None:
    digest = lasting.put(content)
    assert [read_opened(lasting, digest) for _ in range(2)] == [content] * 2


def rewrite(path: Path) -> None:
    path.write_bytes(b"damaged")


def rewrite_and_hide(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"damaged")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"damaged")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 3)


HARMS = pytest.mark.parametrize("harm", [rewrite, rewrite_and_hide, swap, cut])


@HARMS
@pytest.mark.parametrize("settled", [False, True])
def test_a_file_that_changes_after_it_was_opened_once_is_noticed(
    tmp_path: Path, harm: Callable[[Path], None], settled: bool
) -> None:
    store = FileStore(tmp_path)
    digest = store.put(b"content")
    if settled:
        settle()
    assert read_opened(store, digest) == b"content"
    harm(tmp_path / digest[:2] / digest)
    for _ in range(2):
        with pytest.raises(ContentDamaged):
            store.open(digest)
    store.put(b"content")
    assert read_opened(store, digest) == b"content"


def test_a_file_is_read_whole_once_for_many_openings_and_again_when_it_was_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path)
    digest = store.put(b"content")
    settle()
    read = count_reads(monkeypatch)
    for _ in range(5):
        store.open(digest).close()
    assert len(read) == 1
    (tmp_path / digest[:2] / digest).touch()
    settle()
    for _ in range(5):
        store.open(digest).close()
    assert len(read) == 2


def test_those_who_open_a_file_at_the_same_time_wait_for_one_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path)
    digest = store.put(bytes(2_000_000))
    settle()
    read = count_reads(monkeypatch)
    together = threading.Barrier(8)

    def open_it() -> None:
        together.wait()
        store.open(digest).close()

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 1


def test_only_so_many_files_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED >= 1000
    monkeypatch.setattr("service.store.REMEMBERED", 2)
    store = FileStore(tmp_path)
    first, second, third = (store.put(content) for content in (b"1", b"2", b"3"))
    settle()
    read = count_reads(monkeypatch)
    for digest in (first, second, third, third, second):
        store.open(digest).close()
    assert len(read) == 3
    store.open(first).close()
    assert len(read) == 4


def test_nothing_stays_open_of_a_file_that_is_damaged(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    digest = store.put(b"content")
    rewrite(tmp_path / digest[:2] / digest)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(ContentDamaged):
            store.open(digest)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(FileNotFoundError):
        store.open("0" * 64)
    with pytest.raises(ValueError, match="sha256"):
        store.open("../../etc/passwd")


def test_a_file_that_changed_just_now_is_read_again_since_it_could_change_and_look_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.TICK_S", 1000.0)
    store = FileStore(tmp_path)
    digest = store.put(b"content")
    read = count_reads(monkeypatch)
    for _ in range(3):
        store.open(digest).close()
    assert len(read) == 3


def test_what_is_removed_is_gone_and_those_who_read_it_read_on(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    digest = store.put(b"x")
    with store.open(digest) as file:
        store.remove(digest)
        store.remove(digest)
        assert os.pread(file.fileno(), 10, 0) == b"x"
    assert not store.holds(digest)
    assert files(tmp_path) == []
    assert store.put(b"x") == digest
    assert store.get(digest) == b"x"


def test_what_was_stored_before_a_time_is_listed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert list(store.stored_before(time.time())) == []
    old, new = store.put(b"old"), store.put(b"new")
    then = time.time() - 100
    os.utime(tmp_path / old[:2] / old, (then, then))
    (tmp_path / old[:2] / ".new-x").write_bytes(b"unfinished")
    assert list(store.stored_before(then + 50)) == [old]
    assert set(store.stored_before(time.time() + 1)) == {old, new}
