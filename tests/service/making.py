"""What several tests of this room start from."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assembler.artifact import Assembly, Basis, Bundle, LimitCheck, Measured, Predicted, address
from assembler.device import LatencyFit, MemoryFit, Profile, Quality, ShrunkFit, this_machine
from assembler.phase import Phase
from assembler.scenario import Scenario, parse_scenario
from service.devices import NONE, Own
from supernet.card import CARD_FILE, Card, DataSource, Figures, Training
from supernet.task import Kind
from tests.shapes import SMALL

# A worker process of the tests imports this file and must start quickly.
if TYPE_CHECKING:
    import httpx
    from fastapi import FastAPI

    from service.house import House

CLASSES = ("coat", "bag", "sneaker", "boot")
BODY: dict[str, Any] = {
    "task": {"kind": "classification", "classes": ["bag", "coat"]},
    "limits": {"latency_ms": 1.5, "size_mb": 1.0},
}


def body(**changes: Any) -> dict[str, Any]:
    return {**BODY, **changes}


def raw(**changes: Any) -> bytes:
    return json.dumps(body(**changes)).encode()


def scenario(**changes: Any) -> Scenario:
    return parse_scenario(raw(**changes))


def make_card(
    name: str = "clothes", classes: tuple[str, ...] = CLASSES, files: dict[str, str] | None = None
) -> Card:
    return Card(
        name=name,
        kind=Kind.CLASSIFICATION,
        classes=classes,
        architecture=SMALL,
        data=DataSource(name="none", licence="MIT", credit="nobody"),
        training=Training(command="none", seed=0, epochs=0, duration_s=0, machine="none", versions={}),
        figures=Figures(
            dense_accuracy=0.5,
            dense_accuracy_by_class=(0.5,) * len(classes),
            test_images=0,
            predictor_error=0,
            predictor_pairs=0,
        ),
        files=files or {},
    )


def write_member(folder: Path, name: str = "clothes", classes: tuple[str, ...] = CLASSES) -> Path:
    """Write the folder of a checkpoint whose weights are never loaded; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = f"weights of {name}".encode()
    (folder / "weights.safetensors").write_bytes(content)
    card = make_card(name, classes, {"weights.safetensors": hashlib.sha256(content).hexdigest()})
    (folder / CARD_FILE).write_text(card.model_dump_json())
    return folder


def make_profile(card: Card, scale: float = 1.0) -> Profile:
    """Return a profile of this machine in which every module of every block costs the same."""
    rows = [tuple(0.01 * n for n in range(block.modules + 1)) for block in card.architecture.blocks]
    latency = LatencyFit(table=tuple(rows), scale=scale, offset_ms=0.02, margin=0.04)
    return Profile(
        device="local",
        machine=this_machine(),
        threads=1,
        supernet=card.digest,
        measured_at=datetime(2026, 1, 2, tzinfo=UTC),
        latency=latency,
        shrunk=tuple(ShrunkFit(side=side, latency=latency) for side in card.architecture.sides),
        memory=MemoryFit(base_mb=0.4, per_size=3, per_activation=1, margin=0.05),
        quality=Quality(
            nets=1, latency_mape=0, latency_within_tenth=1, memory_nets=1, memory_mape=0, duration_s=1
        ),
    )


def make_assembly(content: bytes, latency_ms: float = 0.5, *, bundled: bool = False) -> Assembly:
    zipped = b"zip of " + content
    artifact = address(zipped, format="zip", precision="fp32", kind="bundle")
    return Assembly(
        content=content,
        artifact=address(content, format="onnx", precision="fp32"),
        manifest={"classes": ["bag", "coat"]},
        predicted=Predicted(latency_ms=latency_ms, memory_mb=1, size_mb=0.1, accuracy=0.9),
        measured=Measured(
            latency_ms=latency_ms, latency_percentile=50, memory_mb=1, size_mb=0.1, accuracy=0.9, samples=64
        ),
        limits_check=(
            LimitCheck(limit="latency_ms", requested=1.5, value=latency_ms, basis=Basis.MEASURED, met=True),
        ),
        bundle=Bundle(zipped, artifact, {"files": []}) if bundled else None,
    )


def digest_of(wanted: Scenario) -> str:
    facts = wanted.model_dump_json(exclude={"name", "labels", "deadline_s"})
    return f"sha256:{hashlib.sha256(facts.encode()).hexdigest()}"


def build_quickly(wanted: Scenario) -> Iterator[Phase | Assembly]:
    yield Phase("assembling")
    yield Phase("compiling")
    yield make_assembly(digest_of(wanted).encode())


def build_both(wanted: Scenario) -> Iterator[Phase | Assembly]:
    """Yield an assembly of a model and its bundle."""
    yield make_assembly(digest_of(wanted).encode(), bundled=True)


class Building:
    """A builder out of plain functions; what a device costs is no matter to it."""

    def __init__(
        self,
        build: Callable[[Scenario], Iterable[Phase | Assembly]] = build_quickly,
        digest: Callable[[Scenario], str] = digest_of,
        look: Callable[[], bool] = lambda: False,
    ) -> None:
        self._build, self._digest, self.look = build, digest, look

    def build(self, wanted: Scenario, own: Own = NONE) -> Iterable[Phase | Assembly]:
        return self._build(wanted)

    def digest(self, wanted: Scenario, own: Own = NONE) -> str:
        return self._digest(wanted)


def take_away(house: "House") -> None:
    """Have the database of a house be away."""
    from service.db import open_engine

    house.engine.dispose()
    for path in house.settings.data_dir.glob("nnfactory.db*"):
        path.unlink()
    if house.settings.database_url is not None:
        # Nobody listens there.
        house.database.engine = open_engine(house.settings.database_url.set(port=1))


def with_auth(house: "House", **changes: Any) -> "House":
    """Return a house whose clients need a key, with other settings changed too."""
    return replace(house, settings=replace(house.settings, auth_required=True, **changes))


def new_key(house: "House", tenant: str = "acme", *scopes: str, **changes: Any) -> tuple[str, dict[str, str]]:
    """Make a key that is good for reading and writing, unless scopes are named; return its id and its header."""
    from service.db import writing
    from service.keys import create_key
    from service.scopes import USUAL, Scope

    options = {"label": None, "expires_at": None, "now": time.time(), **changes}
    with writing(house.engine) as connection:
        wanted = [Scope(scope) for scope in scopes] or USUAL
        key, secret = create_key(connection, tenant, scopes=wanted, **options)
    return key.id, {"Authorization": f"Bearer {secret}"}


def ask(app: "FastAPI", method: str, path: str, **options: Any) -> "httpx.Response":
    """Return the application's answer to one request."""
    import httpx

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            found = await client.request(method, path, **options)
        # The connections to a server belong to this event loop.
        await app.state.house.database.leave_loop()
        return found

    return asyncio.run(send())
