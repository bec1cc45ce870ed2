"""What the service bears, beside a bare handler of the same stack, in turn on the same machine.

Submits and reads of jobs, with an empty queue and with a long one; a batch; many open event streams; one worker and
two, with a core each as machines of their own have, and on all cores together. Prints JSON:
``python -m benchmarks.load [--database postgresql] [--seconds 8] [--connections 16] [--rounds 3]``.
PostgreSQL is a server of its own, the one that the tests use.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine, insert, make_url, select

from benchmarks.machine import describe_machine
from benchmarks.wire import Load, load, request
from service.db import open_engine, reading, writing
from service.jobs import State, add_event, move
from service.migrations import migrate
from service.queue import claim_next
from service.tables import jobs
from tests.servers import Postgres, free_port

ROOT = Path(__file__).parents[1]
CLASSES = ("Bag", "Coat", "Sneaker")


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--builds", type=int, default=60, help="that one worker makes, and two; 0 for none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = None
        if options.database == "postgresql":
            server = Postgres()
            stack.callback(server.remove)
            server.start()
            url = server.url()
        report = measure(Path(folder), url, options)
    print(json.dumps(report, indent=1))


def measure(folder: Path, url: str | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return the report."""
    environment = {**os.environ, "NNF_QUEUE_LIMIT": "100000000", "NNF_DATA_DIR": str(folder / "data")}
    if url is not None:
        environment["NNF_DATABASE_URL"] = url
    subprocess.run([sys.executable, "-m", "service.cli", "measure"], cwd=ROOT, env=environment, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    engine = open_engine(make_url(url) if url else folder / "data" / "nnfactory.db")
    migrate(engine)
    share(engine, folder / "data")
    found: dict[str, Any] = {"machine": describe_machine(), "database": options.database}
    bare_url = url or str(folder / "bare.db")
    with (
        serving("service.cli", ["api"], environment) as ours,
        serving("benchmarks.bare", [bare_url], environment) as bare,
    ):
        found |= compare(ours, bare, options)
        fill(engine, options.queued)
        found["submit_with_a_long_queue"] = {"queued": options.queued, **long_queue(ours, found, options)}
        empty(engine)
        found["streams"] = asyncio.run(follow(ours, engine, options.streams))
        empty(engine)
    if options.builds:
        found["batch"] = batch(engine, environment, options.batch)
        empty(engine)
        found["workers"] = workers(engine, environment, options)
    engine.dispose()
    return found


def share(engine: Engine, data_dir: Path) -> None:
    """Have the HTTP process know what was measured, as a worker on another machine does."""
    from service.profiles import share_profiles

    with writing(engine) as connection:
        share_profiles(connection, data_dir, now=time.time())


@contextmanager
def serving(module: str, arguments: Sequence[str], environment: dict[str, str]) -> Iterator[str]:
    """Run a server on a free port; yield its address."""
    port = free_port()
    last = ["--port", str(port)] if module == "service.cli" else [str(port)]
    command = [sys.executable, "-m", module, *arguments, *last]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{address}/healthz")
                break
            except httpx.TransportError:
                assert time.monotonic() < until, "the server did not start"
                assert process.poll() is None, "the server ended"
                time.sleep(0.05)
        try:
            # What predicts and what was measured elsewhere is loaded once it answers.
            time.sleep(3)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def scenario(number: int) -> bytes:
    """Return a scenario that is like no other."""
    task = {"kind": "classification", "classes": list(CLASSES)}
    return json.dumps(
        {"task": task, "limits": {"latency_ms": 1 + number * 1e-6}, "supernet": "fashion"}
    ).encode()


def compare(ours: str, bare: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what both servers do for submits and for reads, a round of one after a round of the other."""
    how = {"connections": options.connections, "seconds": options.seconds}
    offset = iter(range(0, 10**9, 10**6))

    def submits() -> tuple[Load, Load]:
        start = next(offset)
        mine = load(ours, lambda n: request("POST", "/models", scenario(start + n)), keep=True, **how)
        plain = load(bare, lambda n: request("POST", "/rows", scenario(start + n)), keep=True, **how)
        return mine, plain

    submitted = [submits() for _ in range(options.rounds)]
    for pair in submitted:
        for one in pair:
            assert set(one.statuses) == {202}, (one.statuses, one.bodies[0])
    ids = [
        [json.loads(body)["id"] for body in pair[side].bodies] for side in (0, 1) for pair in submitted[-1:]
    ]

    def reads() -> tuple[Load, Load]:
        mine = load(ours, lambda n: request("GET", f"/jobs/{ids[0][n % len(ids[0])]}"), **how)
        plain = load(bare, lambda n: request("GET", f"/rows/{ids[1][n % len(ids[1])]}"), **how)
        return mine, plain

    read = [reads() for _ in range(options.rounds)]
    accepted = {json.loads(body)["id"] for pair in submitted for body in pair[0].bodies}
    return {
        "submit": ratio(submitted),
        "read": ratio(read),
        "lost": len(accepted - found_jobs(ours, len(accepted))),
    }


def found_jobs(address: str, count: int) -> set[str]:
    """Return the ids of all jobs, page by page."""
    found: set[str] = set()
    query: dict[str, str] = {"page_size": "200"}
    with httpx.Client(base_url=address, timeout=60) as client:
        while True:
            page = client.get("/jobs", params=query).json()
            found |= {job["id"] for job in page["jobs"]}
            if page["next_page_token"] is None:
                return found
            query["page_token"] = page["next_page_token"]


def ratio(rounds: list[tuple[Load, Load]]) -> dict[str, Any]:
    """Return the last round of each, and the median ratio of their rates."""
    ratios = sorted(
        (len(mine.latencies) / mine.seconds) / (len(plain.latencies) / plain.seconds)
        for mine, plain in rounds
    )
    return {
        "service": rounds[-1][0].describe(),
        "bare": rounds[-1][1].describe(),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(one, 3) for one in ratios],
    }


def fill(engine: Engine, count: int) -> None:
    """Have so many jobs wait, copies of the last one."""
    with writing(engine) as connection:
        row = dict(connection.execute(select(jobs).order_by(jobs.c.id.desc()).limit(1)).mappings().one())
        for start in range(0, count, 10_000):
            rows = [
                row | {"id": f"job_{number:032x}", "model_id": f"mdl_{number:032x}"}
                for number in range(start, min(count, start + 10_000))
            ]
            connection.execute(insert(jobs), rows)


def empty(engine: Engine) -> None:
    """End every job that waits."""
    with writing(engine) as connection:
        connection.execute(jobs.update().where(jobs.c.state == State.QUEUED).values(state=State.CANCELLED))


def long_queue(ours: str, found: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return what a submit costs when many jobs wait."""
    mine = load(
        ours, lambda n: request("POST", "/models", scenario(5 * 10**8 + n)),
        connections=options.connections, seconds=options.seconds,
    )  # fmt: skip
    described = mine.describe()
    return {**described, "cost_ratio": round(found["submit"]["service"]["per_s"] / described["per_s"], 3)}


async def follow(ours: str, engine: Engine, count: int) -> dict[str, Any]:
    """Return how late events come to many open streams while jobs go their way."""
    async with httpx.AsyncClient(base_url=ours, timeout=120) as client:
        wanted = [json.loads(scenario(6 * 10**8 + number)) for number in range(count)]
        accepted = (await client.post("/models/batch", json=wanted)).json()["jobs"]
    place, lags, opened = urlsplit(ours), [], asyncio.Semaphore(50)
    ready = asyncio.Event()
    waiting = count

    async def listen(job: str) -> None:
        nonlocal waiting
        async with opened:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(request("GET", f"/jobs/{job}/events"))
            await reader.readuntil(b"data:")
        waiting -= 1
        if not waiting:
            ready.set()
        while b'"succeeded"' not in (line := await reader.readline()):
            if line.startswith(b"data:") and b'"told_at"' in line:
                told = json.loads(line.split(b"data:", 1)[1])
                lags.append(time.time() - told["told_at"])
        writer.close()

    listening = [asyncio.create_task(listen(job["id"])) for job in accepted]
    await ready.wait()
    await asyncio.to_thread(go_on, engine, count)
    async with asyncio.timeout(120):
        await asyncio.gather(*listening)
    ordered = sorted(lags)
    return {
        "open": count,
        "events": len(lags),
        "p50_lag_ms": round(1000 * statistics.median(ordered), 1),
        "p99_lag_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
    }


def go_on(engine: Engine, count: int) -> None:
    """Take every job to its end by the moves of a worker, as fast as four workers would."""
    for _ in range(count):
        with writing(engine, durable=False) as connection:
            taken = claim_next(connection, "wrk_benchmark", lease_s=600, now=time.time())
        assert taken is not None
        for share in (0.3, 0.6):
            with writing(engine, durable=False) as connection:
                told = {"progress": share, "told_at": time.time()}
                add_event(connection, taken[0].id, "progress", told, now=time.time())
        with writing(engine) as connection:
            move(connection, taken[0].id, State.SUCCEEDED, now=time.time(), hold=taken[1])
        time.sleep(0.02)


def batch(engine: Engine, environment: dict[str, str], count: int) -> dict[str, Any]:
    """Return how long a batch takes to be accepted, and to be done, and what was built for it."""
    kinds = 40
    wanted = [json.loads(scenario(7 * 10**8 + number % kinds)) for number in range(count)]
    with (
        serving("service.cli", ["api"], environment) as ours,
        working(environment, 1),
        httpx.Client(base_url=ours, timeout=120) as client,
    ):
        began = time.perf_counter()
        answer = client.post("/models/batch", json=wanted)
        accepted_s = time.perf_counter() - began
        made = answer.json()
        wait_done(engine)
        done_s = time.perf_counter() - began
    with reading(engine) as connection:
        mine = jobs.c.batch_id == made["batch_id"]
        built = connection.execute(select(jobs.c.id).where(mine, jobs.c.reused_from.is_(None))).all()
        states = connection.scalars(select(jobs.c.state).where(mine).distinct()).all()
    return {
        "scenarios": count,
        "distinct": kinds,
        "accepted_s": round(accepted_s, 2),
        "done_s": round(done_s, 2),
        "unique_builds": made["unique_builds"],
        "built": len(built),
        "states": list(states),
    }


def workers(
    engine: Engine, environment: dict[str, str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Return how many models a second one worker makes, and two: each on a core of its own, and all on all cores.

    Of several rounds that of the median ratio.
    """
    found = {}
    with (
        serving("service.cli", ["api"], environment) as ours,
        httpx.Client(base_url=ours, timeout=60) as client,
    ):
        start = itertools.count(8 * 10**8, 10**6)

        def models_per_s(number: int, *, pinned: bool) -> float:
            first = next(start)
            batch = [json.loads(scenario(first + n)) for n in range(options.builds)]
            client.post("/models/batch", json=batch)
            with working(environment, number, pinned=pinned, ready=lambda: began_building(engine)):
                began = time.perf_counter()
                left = queued(engine)
                wait_done(engine)
                return left / (time.perf_counter() - began)

        for name, pinned in (("a_core_each", True), ("all_cores", False)):
            rounds = [
                (models_per_s(1, pinned=pinned), models_per_s(2, pinned=pinned))
                for _ in range(options.rounds)
            ]
            rounds.sort(key=lambda rates: rates[1] / rates[0])
            one, two = rounds[len(rounds) // 2]
            found[name] = {
                "one_per_s": round(one, 2),
                "two_per_s": round(two, 2),
                "ratio": round(two / one, 2),
                "ratios": [round(rates[1] / rates[0], 2) for rates in rounds],
            }
    return found


@contextmanager
def working(
    environment: dict[str, str], count: int, *, pinned: bool = False, ready: Any = None
) -> Iterator[None]:
    """Run workers, from when they are ready; pinned ones have a core each."""
    command = [sys.executable, "-m", "service.cli", "worker"]
    cores = sorted(os.sched_getaffinity(0))
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) for _ in range(count)
    ]
    for number, process in enumerate(processes if pinned else []):
        os.sched_setaffinity(process.pid, {cores[number % len(cores)]})
    try:
        while ready is not None and not ready():
            time.sleep(0.02)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)


def began_building(engine: Engine) -> bool:
    """Return whether every worker that lives has taken a job."""
    with reading(engine) as connection:
        ready = connection.exec_driver_sql("SELECT ready FROM workers").scalars().all()
        running = connection.exec_driver_sql("SELECT COUNT(*) FROM jobs WHERE state = 'running'").scalar_one()
    return bool(ready) and all(ready) and running == len(ready)


def queued(engine: Engine) -> int:
    """Return how many jobs wait or run."""
    with reading(engine) as connection:
        return int(
            connection.exec_driver_sql(
                "SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running')"
            ).scalar_one()
        )


def wait_done(engine: Engine) -> None:
    """Wait until nothing waits or runs."""
    while queued(engine):
        time.sleep(0.1)


if __name__ == "__main__":
    main()
