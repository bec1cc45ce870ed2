"""What a download costs the server, compared with Starlette's plain FileResponse on the same uvicorn.

Starts the real HTTP process on a data folder with a few stored artifacts, and beside it a bare application that serves
the same files. Many clients download from one, then from the other, in turn; every content is compared with its
sha256. Prints JSON:
``python -m benchmarks.downloads [--clients 50] [--each 8] [--rounds 5] [--artifacts 4] [--size-mb 4]``.
"""

import argparse
import hashlib
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine

from assembler.artifact import MEGABYTE, address
from assembler.scenario import parse_scenario
from benchmarks.machine import describe_machine
from service.db import open_engine, reading, writing
from service.jobs import add_job
from service.migrations import migrate
from service.models import Ending, Outcome, list_artifacts, publish
from service.queue import claim_next
from service.settings import Settings
from service.store import FileStore

OURS, PLAIN = "service", "file_response"
BUFFER_BYTES = 256 * 1024
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Stored:
    """One file: where the service has it, its path, and its sha256."""

    id: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Round:
    """What one server did in one round: MB sent, seconds of its processors and of the clock, contents not equal."""

    mb: float
    cpu_s: float
    wall_s: float
    differ: int


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50, help="that download at the same time")
    parser.add_argument("--each", type=int, default=8, help="downloads of each client in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--artifacts", type=int, default=4)
    parser.add_argument("--size-mb", type=float, default=4.0)
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        serve_plainly(options.plain)
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        files = store_artifacts(Path(folder), options.artifacts, int(options.size_mb * MEGABYTE))
        store = str(Settings(data_dir=Path(folder)).store_path)
        commands = {
            OURS: ["service.cli", "api", "--port", "0", "--data-dir", folder],
            PLAIN: ["benchmarks.downloads", "--plain", store],
        }
        servers = {name: stack.enter_context(serving(command)) for name, command in commands.items()}
        paths = {
            OURS: [(f"/artifacts/{file.id}", file.sha256) for file in files],
            PLAIN: [(f"/{file.path.relative_to(store)}", file.sha256) for file in files],
        }
        rounds: dict[str, list[Round]] = {name: [] for name in servers}
        for name in servers:  # the first answers of a process take longer
            run_round(servers[name], paths[name], 1, len(files))
        before = {name: peak_mb(process.pid) for name, (process, _) in servers.items()}
        for _ in range(options.rounds):
            for name, server in servers.items():
                rounds[name].append(run_round(server, paths[name], options.clients, options.each))
        rises = {name: peak_mb(process.pid) - before[name] for name, (process, _) in servers.items()}
    report = {
        "machine": describe_machine(),
        "clients": options.clients,
        "artifacts": options.artifacts,
        "size_mb": options.size_mb,
        **{name: {**describe(rounds[name]), "rise_mb": round(rises[name], 1)} for name in rounds},
        "ratio": compare(rounds[OURS], rounds[PLAIN]),
    }
    print(json.dumps(report, indent=1))


def store_artifacts(data_dir: Path, count: int, size: int) -> list[Stored]:
    """Make a data folder with artifacts of random bytes, as a worker would publish them; return what is in it.

    Args:
        data_dir: is made when it is missing.
        count: of the artifacts.
        size: of each, bytes.
    """
    settings = Settings(data_dir=data_dir)
    engine = open_engine(settings.database_path)
    migrate(engine)
    store = FileStore(settings.store_path)
    draw = random.Random(0)
    try:
        return [store_one(engine, store, draw.randbytes(size)) for _ in range(count)]
    finally:
        engine.dispose()


def store_one(engine: Engine, store: FileStore, content: bytes) -> Stored:
    """Store a content and end a job with it."""
    artifact = address(content, format="onnx", precision="fp32")
    digest = store.put(content)
    wanted = parse_scenario(
        b'{"task": {"kind": "classification", "classes": ["a", "b"]}, "limits": {"size_mb": 99}}'
    )
    with writing(engine) as connection:
        add_job(connection, wanted, digest=digest, request_id="benchmark", now=time.time())
        taken = claim_next(connection, "benchmark", lease_s=60, now=time.time())
        assert taken is not None
        job, hold = taken
        ending = Ending(Outcome(((artifact, {}),), {}), digest, [])
        assert publish(connection, job, hold, ending, now=time.time())
    with reading(engine) as connection:
        (stored,) = list_artifacts(connection, job.model_id)
    with store.open(digest) as file:
        return Stored(stored.id, Path(os.fsdecode(file.name)), digest)


@contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server; yield its process and the address it names on the standard error."""
    process = subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        address = re.search(r"http://\S+", said)
        if address is None:
            raise SystemExit(f"the server did not start: {said}{process.stderr.read()}")
        yield process, urlsplit(address.group()).netloc
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def serve_plainly(folder: Path) -> None:
    """Serve the files of a folder by a bare application, set up as the service sets up its own."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse
    from starlette.routing import Route

    async def download(request: Request) -> FileResponse:
        return FileResponse(folder / request.path_params["path"])

    app = Starlette(routes=[Route("/{path:path}", download)])
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    config = uvicorn.Config(app, http="h11", log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listener])


def run_round(
    server: tuple[subprocess.Popen[str], str], paths: Sequence[tuple[str, str]], clients: int, each: int
) -> Round:
    """Download from a server by many clients at once.

    Args:
        server: its process and its address.
        paths: of the files, each with its sha256.
        clients: each has one connection.
        each: downloads of a client, one after the other, from all paths in turn.
    """
    process, place = server
    done: list[tuple[int, bool]] = []

    def work(first: int) -> None:
        connection = http.client.HTTPConnection(place, timeout=120)
        for number in range(first, first + each):
            path, sha256 = paths[number % len(paths)]
            size, found = download(connection, path)
            done.append((size, found == sha256))
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    cpu_s, began = processor_s(process.pid), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    equal = sum(whole for _, whole in done)
    mb = sum(size for size, _ in done) / MEGABYTE
    return Round(mb, processor_s(process.pid) - cpu_s, took, clients * each - equal)


def download(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    """Return length and sha256 of what comes from a path."""
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(f"{path} was answered with {response.status}")
    size, found, buffer = 0, hashlib.sha256(), memoryview(bytearray(BUFFER_BYTES))
    while count := response.readinto(buffer):
        size += count
        found.update(buffer[:count])
    return size, found.hexdigest()


def processor_s(pid: int) -> float:
    """Return the seconds of processors that a process has used, all threads together, to 0.01 s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the most memory that a process had resident so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024 / MEGABYTE


def describe(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return how much a server sent in the middle of its rounds, and how many contents were not equal."""
    return {
        "mb_per_cpu_s": round(statistics.median(one.mb / one.cpu_s for one in rounds), 1),
        "mb_per_s": round(statistics.median(one.mb / one.wall_s for one in rounds), 1),
        "mb": round(sum(one.mb for one in rounds), 1),
        "differ": sum(one.differ for one in rounds),
    }


def compare(ours: Sequence[Round], plain: Sequence[Round]) -> dict[str, float]:
    """Return how many times as much per second of processor we send, in rounds that followed one another."""
    ratios = [(a.mb / a.cpu_s) / (b.mb / b.cpu_s) for a, b in zip(ours, plain, strict=True)]
    return {"median": round(statistics.median(ratios), 2), "least": round(min(ratios), 2)}


if __name__ == "__main__":
    main()
