"""A service of several processes on servers of its own, each of which can be made to fail."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import make_url

from service.db import open_engine, writing
from service.keys import create_key
from service.migrations import migrate
from service.scopes import USUAL
from tests.servers import Postgres, Redis, free_port
from tests.service.making import write_member

ROOT = Path(__file__).parents[2]
TENANTS = ("acme", "zeta")


class Part:
    """One process of the service, which is started again by ``Fleet.keep`` when it has ended."""

    def __init__(self, what: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.what = what
        self._command = command
        self._environment = environment
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.child", *self._command],
                cwd=ROOT,
                env=self._environment,
                stderr=log,
                stdout=log,
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(20)

    def end(self) -> None:
        """Ask it to end."""
        if self.alive:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until it has ended."""
        if self.process is not None:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Fleet:
    """Servers, HTTP processes and workers; ``folder`` holds store, data folders and logs, unless others are named.

    A key is needed: ``keys`` holds the header of each tenant.
    """

    def __init__(
        self,
        apis: int = 1,
        workers: int = 2,
        *,
        store: Path | None = None,
        data: Path | None = None,
        redis: bool = True,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nnf-fleet-"))
        self.postgres = Postgres()
        self.postgres.start()
        self.redis = Redis() if redis else None
        if self.redis is not None:
            self.redis.start()
        self.store = store or self.folder / "store"
        (self.folder / "marks").mkdir()
        write_member(self.folder / "zoo" / "clothes")
        self.engine = open_engine(make_url(self.postgres.url()))
        migrate(self.engine)
        self.keys = {tenant: self._new_key(tenant) for tenant in TENANTS}
        # One connection a request: a process that is killed takes none along that the next request would use.
        self._client = httpx.Client(timeout=30, limits=httpx.Limits(max_keepalive_connections=0))
        self._data = data or self.folder
        self.ports = [free_port() for _ in range(apis)]
        self.apis = [self._part(f"api{n}", ["api", str(port)]) for n, port in enumerate(self.ports)]
        self.workers = [self._part(f"worker{n}", ["worker"]) for n in range(workers)]

    def _new_key(self, tenant: str) -> dict[str, str]:
        with writing(self.engine) as connection:
            options: dict[str, Any] = {"scopes": USUAL, "label": None, "expires_at": None, "now": time.time()}
            _, secret = create_key(connection, tenant, **options)
        return {"Authorization": f"Bearer {secret}"}

    def _part(self, name: str, command: list[str]) -> Part:
        environment = {
            **os.environ,
            "NNF_AUTH": "required",
            "NNF_DATA_DIR": str(self._data / name),
            "NNF_DATABASE_URL": self.postgres.url(),
            "NNF_STORE_URL": f"file://{self.store}",
            "NNF_SUPERNETS": str(self.folder / "zoo"),
            "NNF_QUEUE_LIMIT": "1000000",
            "FAULT_MARKS": str(self.folder / "marks"),
            "FAULT_CLOCK": str(self.folder / f"{name}.clock"),
        }
        if self.redis is not None:
            environment["NNF_REDIS_URL"] = self.redis.url
        return Part(name, command, environment, self.folder / f"{name}.log")

    def start(self) -> None:
        """Start every process, and return when the service is ready."""
        for part in (*self.workers, *self.apis):
            part.start()
        self.wait_ready(60)

    def url(self, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def ask(self, method: str, path: str, tenant: str = TENANTS[0], **options: Any) -> httpx.Response:
        """Return what the first HTTP process answers a tenant."""
        headers = {**self.keys[tenant], **options.pop("headers", {})}
        return self._client.request(method, f"{self.url()}{path}", headers=headers, **options)

    def wait_ready(self, timeout_s: float = 10.0) -> float:
        """Wait until every HTTP process says that it is ready; return how long that took, s."""
        began = time.monotonic()
        for number in range(len(self.ports)):
            wait_until(lambda number=number: self._ready(number), timeout_s, self.logs)
        return time.monotonic() - began

    def recover(self, timeout_s: float) -> None:
        """Wait until the service is ready, starting again what ended, as for want of a server at its own start."""

        def is_ready() -> bool:
            self.keep()
            return all(self._ready(number) for number in range(len(self.ports)))

        wait_until(is_ready, timeout_s, self.logs)

    def _ready(self, number: int) -> bool:
        try:
            return httpx.get(f"{self.url(number)}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def keep(self) -> None:
        """Start again what has ended, as a supervisor or an orchestrator does."""
        for part in (*self.apis, *self.workers):
            if not part.alive:
                part.start()

    def set_clock(self, part: Part, wrong_s: float) -> None:
        (self.folder / f"{part.what}.clock").write_text(str(wrong_s))

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for part in (*self.apis, *self.workers):
            part.end()
        for part in (*self.apis, *self.workers):
            part.wait()
        self.engine.dispose()
        self._client.close()
        if self.redis is not None:
            self.redis.remove()
        self.postgres.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def fleet(apis: int = 1, workers: int = 2, **options: Any) -> Iterator[Fleet]:
    """Run a service, and end it."""
    found = Fleet(apis, workers, **options)
    try:
        found.start()
        yield found
    finally:
        found.close()


def wait_until(
    condition: Callable[[], object], timeout_s: float = 30.0, explain: Callable[[], str] = lambda: ""
) -> None:
    """Wait until a function returns something true."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"it did not happen in {timeout_s} s\n{explain()}"
        time.sleep(0.02)
