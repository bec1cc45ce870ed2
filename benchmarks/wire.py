"""A client that costs little: requests are bytes, answers are read by their length."""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Request = Callable[[int], bytes]


@dataclass
class Load:
    """What a server did: latencies of its answers in seconds, and how many came with each status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)

    def describe(self) -> dict[str, object]:
        """Return rate, latencies and statuses."""
        ordered = sorted(self.latencies)
        return {
            "per_s": round(len(ordered) / self.seconds, 1),
            "p50_ms": round(1000 * statistics.median(ordered), 2),
            "p99_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 2),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
        }


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request; names of headers are written with underscores."""
    lines = [f"{method} {path} HTTP/1.1", "Host: house", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status and the body of an answer that says how long it is."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return int(head[9:12]), await reader.readexactly(length)


def load(address: str, make: Request, *, connections: int, seconds: float, keep: bool = False) -> Load:
    """Ask a server for some seconds over so many connections, each one request after the other."""
    return asyncio.run(_load(address, make, connections, seconds, keep))


async def _load(address: str, make: Request, connections: int, seconds: float, keep: bool) -> Load:
    found, numbers = Load(), itertools.count()
    place = urlsplit(address)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < ends:
            sent = time.perf_counter()
            writer.write(make(next(numbers)))
            status, body = await read_answer(reader)
            found.latencies.append(time.perf_counter() - sent)
            found.statuses[status] += 1
            if keep:
                found.bodies.append(body)
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    ends = began + seconds
    await asyncio.gather(*(ask() for _ in range(connections)))
    found.seconds = time.perf_counter() - began
    return found
