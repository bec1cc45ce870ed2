"""Artifacts in an object store that many machines share, such as S3; what was read lately lies in files here as well.

Credentials, region and endpoint come from the environment in the names that every S3 client knows: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store, from_url

from service.errors import SettingInvalid
from service.store import ContentDamaged, FileStore, StoreAway, is_digest

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CACHE_MB = 1024.0
# A store that does not answer within so long is away.
CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=3), "timeout": timedelta(seconds=15)}
RETRY: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
_ABSENT = ".check"


class ObjectStore:
    """Objects under one prefix, named by their sha256; files of this machine spare reading them again."""

    def __init__(self, url: str, cache: Path, cache_mb: float = CACHE_MB) -> None:
        """Prepare to use a store, which is not asked yet.

        Args:
            url: ``s3://BUCKET/PREFIX``.
            cache: a folder of this process' machine.
            cache_mb: how much may lie there, 10^6 bytes.

        Raises:
            SettingInvalid: the address or what the environment says of it cannot be used.
        """
        http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        try:
            found = from_url(url, client_options={**CLIENT, "allow_http": http}, retry_config=RETRY)
        except (BaseError, ValueError) as error:
            raise SettingInvalid(f"NNF_STORE_URL cannot be used: {error}") from error
        assert isinstance(found, S3Store)
        self._objects = found
        self._cache = FileStore(cache)
        self._cache_bytes = cache_mb * 1e6
        self._flights: dict[str, Future[bytes]] = {}
        self._boarding = threading.Lock()
        self._evicting = threading.Lock()

    def put(self, content: bytes) -> str:
        """Store a content and return its sha256, hexadecimal; it was read back and found whole.

        Raises:
            OSError: it could not be written or read.
            ContentDamaged: what was read back is not what was written.
        """
        digest = hashlib.sha256(content).hexdigest()
        try:
            self.get(digest)
        except OSError:
            with _told():
                obstore.put(self._objects, _name(digest), content)
            self.get(digest)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the content of this sha256, from the store itself.

        Raises:
            OSError: it is not there or cannot be read.
            ContentDamaged: the object no longer holds what was stored.
        """
        with _told():
            content = bytes(obstore.get(self._objects, _name(digest)).bytes())
        if hashlib.sha256(content).hexdigest() != digest:
            raise ContentDamaged(digest)
        return content

    def open(self, digest: str) -> FileIO:
        """Return a file with the content of this sha256, open for reading and found whole.

        Raises:
            OSError: it is not there or cannot be read.
            ContentDamaged: the object no longer holds what was stored.
        """
        if (file := self.find(digest)) is not None:
            return file
        content = self._fetch(digest)
        # A file that is open stays whole, whoever makes room after that.
        with self._evicting:
            if (file := self.find(digest)) is not None:
                return file
            self._make_room(len(content))
            self._cache.put(content)
            return self._cache.open(digest)

    def find(self, digest: str) -> FileIO | None:
        """Return what ``open`` does of what was read lately, None where the store has to be asked."""
        try:
            return self._cache.open(digest)
        except OSError:
            return None

    def holds(self, digest: str) -> bool:
        """Return whether the content of this sha256 is there and whole.

        Raises:
            StoreAway: it cannot be asked.
        """
        try:
            self.get(digest)
        except (FileNotFoundError, ContentDamaged):
            return False
        return True

    def check(self) -> None:
        """Ask the store for something.

        Raises:
            OSError: it does not answer, or not to these credentials.
        """
        with contextlib.suppress(FileNotFoundError), _told():
            obstore.head(self._objects, _ABSENT)

    def clear(self) -> None:
        """Remove what killed processes left in the files of this machine; an object is whole or absent."""
        self._cache.clear()

    def remove(self, digest: str) -> None:
        """Remove the content of this sha256 from the store and from the files of this machine, if it is there.

        Raises:
            OSError: it cannot be removed.
        """
        self._cache.remove(digest)
        with contextlib.suppress(FileNotFoundError), _told():
            obstore.delete(self._objects, _name(digest))

    def stored_before(self, before: float) -> Iterator[str]:
        """Yield the sha256 of what was stored before a time, s since 1970 UTC, in the store or in files here.

        Raises:
            OSError: the store cannot be asked.
        """
        yield from self._cache.stored_before(before)
        with _told():
            for page in obstore.list(self._objects):
                for found in page:
                    digest = found["path"].rpartition("/")[2]
                    if is_digest(digest) and found["last_modified"].timestamp() < before:
                        yield digest

    def _fetch(self, digest: str) -> bytes:
        """Return a content from the store; who wants the same one meanwhile shares the answer, or the lack of one."""
        with self._boarding:
            flight = self._flights.get(digest)
            own = self._flights.setdefault(digest, Future())
        if flight is not None:
            return flight.result()
        try:
            own.set_result(self.get(digest))
        except BaseException as error:
            own.set_exception(error)
        with self._boarding:
            del self._flights[digest]
        return own.result()

    def _make_room(self, size: int) -> None:
        """Remove the files that were stored longest ago until so many bytes have room; one at a time may do so."""
        found = sorted((path.stat().st_mtime, path) for path in self._cache.folder.glob("*/*"))
        used = sum(path.stat().st_size for _, path in found)
        for _, path in found:
            if used + size <= self._cache_bytes:
                return
            used -= path.stat().st_size
            path.unlink(missing_ok=True)


def _name(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have what the library raises be an OSError, as of a file; what is not there is a FileNotFoundError already."""
    try:
        yield
    except BaseError as error:
        raise StoreAway(_reason(error)) from error


def _reason(error: Any) -> str:
    return str(error).splitlines()[0][:200]
