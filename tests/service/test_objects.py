import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import obstore
import obstore.store
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import SettingInvalid
from service.objects import ObjectStore
from service.store import ContentDamaged, StoreAway
from tests.servers import ObjectServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    server = ObjectServer()
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        ObjectStore("s3://models/first", tmp_path_factory.mktemp("cache")).put(b"the bucket is there")
    yield server
    server.remove()


@pytest.fixture
def store(server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return ObjectStore(f"s3://models/{tmp_path.name}", tmp_path / "cache")


def read(file: FileIO) -> bytes:
    """What users of an open file do: they say where they read."""
    return os.pread(file.fileno(), 10_000, 0)


def spoil(server: ObjectServer, store: ObjectStore, tmp_path: Path, digest: str) -> None:
    """Overwrite an object behind the store's back."""
    names = {name.lower(): value for name, value in server.environment.items()}
    other = obstore.store.from_url(
        f"s3://models/{tmp_path.name}", config=names, client_options={"allow_http": True}
    )
    obstore.put(other, f"{digest[:2]}/{digest}", b"torn")


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").glob("*/*") if path.is_file()]


def test_every_content_comes_back_by_its_sha256(server: ObjectServer, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        store = ObjectStore("s3://models/all", tmp_path / "cache")

    @settings(max_examples=20)
    @given(st.binary(max_size=5000))
    def check(content: bytes) -> None:
        digest = store.put(content)
        assert digest == hashlib.sha256(content).hexdigest()
        assert store.get(digest) == content
        assert store.holds(digest)
        with store.open(digest) as file:
            assert read(file) == content

    check()


def test_what_is_not_there_is_so_for_every_method(store: ObjectStore) -> None:
    digest = hashlib.sha256(b"never stored").hexdigest()
    assert not store.holds(digest)
    for method in (store.get, store.open):
        with pytest.raises(FileNotFoundError):
            method(digest)


def test_another_machine_reads_what_one_stored(store: ObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"shared")
    other = ObjectStore(f"s3://models/{tmp_path.name}", tmp_path / "other")
    with other.open(digest) as file:
        assert read(file) == b"shared"


def test_a_damaged_object_is_noticed_and_written_anew(
    store: ObjectStore, server: ObjectServer, tmp_path: Path
) -> None:
    digest = store.put(b"whole")
    spoil(server, store, tmp_path, digest)
    assert not store.holds(digest)
    for method in (store.get, store.open):
        with pytest.raises(ContentDamaged):
            method(digest)
    store.put(b"whole")
    assert store.get(digest) == b"whole"


def test_what_was_read_once_is_read_from_here_and_a_damaged_copy_is_not(
    store: ObjectStore, server: ObjectServer, tmp_path: Path
) -> None:
    digest = store.put(b"x" * 100)
    store.open(digest).close()
    (copy,) = cached(tmp_path)
    copy.write_bytes(b"y" * 100)
    with store.open(digest) as file:
        assert read(file) == b"x" * 100


def test_copies_are_removed_when_there_are_too_many(
    server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    store = ObjectStore(f"s3://models/{tmp_path.name}", tmp_path / "cache", cache_mb=0.003)
    for number in range(10):
        with store.open(store.put(bytes([number]) * 1000)) as file:
            assert read(file) == bytes([number]) * 1000
    assert 1 <= len(cached(tmp_path)) <= 3


def test_a_store_that_answers_passes_the_check(store: ObjectStore) -> None:
    store.check()
    store.clear()


def test_a_store_that_is_away_says_so_at_every_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ObjectServer.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = ObjectStore("s3://models/x", tmp_path / "cache")
    digest = hashlib.sha256(b"x").hexdigest()
    for act in (
        store.check,
        lambda: store.put(b"x"),
        lambda: store.get(digest),
        lambda: store.holds(digest),
        lambda: store.open(digest),
    ):
        with pytest.raises(StoreAway, match="cannot be used"):
            act()


def test_wrong_keys_are_no_empty_store(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreAway):
        ObjectStore("s3://models/x", tmp_path / "cache").check()


def test_an_address_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="NNF_STORE_URL"):
        ObjectStore("s3://", tmp_path / "cache")


def test_what_is_removed_is_gone_from_the_store_and_from_here(store: ObjectStore, tmp_path: Path) -> None:
    digest = store.put(b"x")
    store.open(digest).close()
    store.remove(digest)
    store.remove(digest)
    assert not store.holds(digest)
    assert cached(tmp_path) == []


def test_what_was_stored_before_a_time_is_listed(store: ObjectStore, tmp_path: Path) -> None:
    assert list(store.stored_before(time.time() + 100)) == []
    digests = {store.put(bytes([number])) for number in range(3)}
    kept_here = store.put(b"once read")
    store.open(kept_here).close()
    assert set(store.stored_before(time.time() + 100)) == digests | {kept_here}
    assert list(store.stored_before(time.time() - 100)) == []
    assert cached(tmp_path) != []


def fetched(store: ObjectStore, digest: str) -> bytes:
    with store.open(digest) as file:
        return read(file)


class Counting(ObjectStore):
    """Counts what is fetched, which takes a while."""

    fetched = 0

    def get(self, digest: str) -> bytes:
        self.fetched += 1
        time.sleep(0.1)
        return super().get(digest)


def counting(server: ObjectServer, tmp_path: Path, **options: float) -> Counting:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        return Counting(f"s3://models/{tmp_path.name}", tmp_path / "cache", **options)


def test_a_content_that_many_want_at_once_is_fetched_once(server: ObjectServer, tmp_path: Path) -> None:
    store = counting(server, tmp_path)
    digest = store.put(b"wanted")
    store.fetched = 0
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: fetched(store, digest), range(20))) == {b"wanted"}
    assert store.fetched == 1


def test_files_that_are_more_than_the_cache_holds_can_be_read_at_once(
    server: ObjectServer, tmp_path: Path
) -> None:
    store = counting(server, tmp_path, cache_mb=1e-5)
    digests = [store.put(bytes([number]) * 9) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda digest: fetched(store, digest), digests * 3))
    assert found == [bytes([number]) * 9 for number in range(8)] * 3
    assert len(cached(tmp_path)) <= 1


def test_those_who_want_the_same_of_a_store_that_fails_are_all_told_at_once(
    server: ObjectServer, tmp_path: Path
) -> None:
    class Failing(Counting):
        def get(self, digest: str) -> bytes:
            self.fetched += 1
            time.sleep(0.5)
            raise StoreAway("it is silent")

    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        store = Failing(f"s3://models/{tmp_path.name}", tmp_path / "cache")

    def open_it(_: int) -> float:
        began = time.monotonic()
        with pytest.raises(StoreAway):
            store.open("0" * 64)
        return time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        durations = list(pool.map(open_it, range(8)))
    assert max(durations) < 2
    assert store.fetched <= 2
