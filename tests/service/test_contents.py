import contextlib
import hashlib
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from service.contents import (
    PINNED_AGAIN_S,
    REMOVAL_S,
    Removal,
    begin_removal,
    doom,
    doom_orphans,
    end_removal,
    forget_pins,
    has_doomed,
    pin,
)
from service.db import open_engine, reading, writing
from service.jobs import Hold, Job, State, move
from service.migrations import migrate
from service.removal import delete_model
from service.store import FileStore
from service.tables import artifacts, content_pins, models
from tests.servers import ON_BOTH_DATABASES
from tests.service.publishing import make_model, publish_content, take

pytestmark = ON_BOTH_DATABASES

SHA = hashlib.sha256(b"onnx").hexdigest()


def begin(engine: Engine, now: float) -> Removal:
    with writing(engine) as connection:
        return begin_removal(connection, now=now, limit=10)


def test_a_content_that_nobody_wants_is_removed_once(engine: Engine) -> None:
    with writing(engine) as connection:
        doom(connection, [SHA, SHA], now=1.0)
        doom(connection, [SHA], now=2.0)
        assert has_doomed(connection, now=1.0)
        assert not has_doomed(connection, now=0.5)
    removal = begin(engine, 3.0)
    assert removal.digests == (SHA,)
    assert begin(engine, 3.0).digests == ()
    with writing(engine) as connection:
        end_removal(connection, removal)
        assert not has_doomed(connection, now=1e9)


def test_a_content_that_an_artifact_has_stays(engine: Engine, tmp_path: Path) -> None:
    make_model(engine, FileStore(tmp_path))
    with writing(engine) as connection:
        doom(connection, [SHA], now=1.0)
    assert begin(engine, 2.0).digests == ()
    with reading(engine) as connection:
        assert not has_doomed(connection, now=1e9)


def test_a_content_that_a_running_job_has_pinned_stays_until_that_has_ended(engine: Engine) -> None:
    with writing(engine) as connection:
        job, hold = take(connection)
        assert pin(connection, hold, [SHA], now=1.0)
        doom(connection, [SHA], now=1.0)
    assert begin(engine, 2.0).digests == ()
    with writing(engine) as connection:
        assert move(connection, job.id, State.FAILED, now=3.0, hold=hold)
    assert begin(engine, 3.0).digests == ()
    assert begin(engine, 2.0 + PINNED_AGAIN_S).digests == (SHA,)


def test_the_pin_of_an_attempt_that_was_taken_away_holds_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        job, hold = take(connection)
        pin(connection, hold, [SHA], now=1.0)
        doom(connection, [SHA], now=1.0)
        assert forget_pins(connection) == 0
        assert move(connection, job.id, State.QUEUED, now=2.0, hold=hold)
        assert forget_pins(connection) == 1
    assert begin(engine, 2.0).digests == (SHA,)


def test_a_later_attempt_pins_anew(engine: Engine) -> None:
    with writing(engine) as connection:
        job, hold = take(connection)
        assert pin(connection, hold, [SHA], now=1.0)
        assert pin(connection, Hold(job.id, hold.worker, 2), [SHA], now=1.0)
        assert [row.attempt for row in connection.execute(select(content_pins))] == [2]


def test_nothing_is_pinned_while_it_is_being_removed(engine: Engine) -> None:
    with writing(engine) as connection:
        _, hold = take(connection)
        doom(connection, [SHA], now=1.0)
    removal = begin(engine, 2.0)
    with writing(engine) as connection:
        assert not pin(connection, hold, [SHA], now=3.0)
        assert pin(connection, hold, ["0" * 64], now=3.0)
        end_removal(connection, removal)
        assert pin(connection, hold, [SHA], now=3.0)


def test_a_removal_whose_process_died_is_taken_over_and_no_longer_waited_for(engine: Engine) -> None:
    with writing(engine) as connection:
        _, hold = take(connection)
        doom(connection, [SHA], now=1.0)
    lost = begin(engine, 2.0)
    late = 2.0 + REMOVAL_S
    with writing(engine) as connection:
        assert pin(connection, hold, ["0" * 64], now=late)
    assert begin(engine, late).digests == (SHA,)
    with writing(engine) as connection:
        end_removal(connection, lost)
        assert not pin(connection, hold, [SHA], now=late + 1)
        assert pin(connection, hold, [SHA], now=late + REMOVAL_S)


def test_orphans_are_what_no_artifact_has(engine: Engine, tmp_path: Path) -> None:
    make_model(engine, FileStore(tmp_path))
    with writing(engine) as connection:
        assert doom_orphans(connection, [SHA, "0" * 64], now=1.0) == 1
    assert begin(engine, 2.0).digests == ("0" * 64,)


@dataclass
class World:
    """A database and a store that several actors change, one step at a time."""

    engine: Engine
    store: FileStore
    made: list[str] = field(default_factory=list)

    def check(self) -> None:
        with reading(self.engine) as connection:
            for sha256 in connection.scalars(select(artifacts.c.sha256)):
                assert self.store.holds(sha256)

    def build(self, content: bytes) -> Iterator[None]:
        """A worker: pin, store unless it is there, publish."""
        sha256 = hashlib.sha256(content).hexdigest()
        with writing(self.engine) as connection:
            taken: tuple[Job, Hold] = take(connection)
        yield
        while True:
            with writing(self.engine) as connection:
                if pin(connection, taken[1], [sha256], now=time.time()):
                    break
            yield
        yield
        there = self.store.holds(sha256)
        yield
        if not there:
            self.store.put(content)
            yield
        with writing(self.engine) as connection:
            assert publish_content(connection, taken, content, now=2.0)
        self.made.append(taken[0].model_id)

    def delete(self) -> Iterator[None]:
        # Another thread may take the last one.
        with contextlib.suppress(IndexError):
            model_id = self.made.pop()
            with writing(self.engine) as connection:
                delete_model(connection, "default", model_id, now=time.time())
        yield

    def remove(self) -> Iterator[None]:
        with writing(self.engine) as connection:
            removal = begin_removal(connection, now=time.time(), limit=10)
        for digest in removal.digests:
            yield
            self.store.remove(digest)
        yield
        with writing(self.engine) as connection:
            end_removal(connection, removal)


ACTS = st.sampled_from(["build", "delete", "remove"])


def test_whatever_the_order_no_artifact_loses_its_content(tmp_path_factory: object) -> None:
    folder = Path(str(tmp_path_factory.mktemp("worlds")))  # type: ignore[attr-defined]

    whole = open_engine(folder / "whole")
    migrate(whole)
    whole.dispose()

    @settings(max_examples=60)
    @given(st.lists(ACTS, min_size=3, max_size=10), st.randoms(use_true_random=False))
    def check(acts: list[str], order: random.Random) -> None:
        place = folder / str(time.monotonic_ns())
        place.mkdir()
        engine = open_engine(shutil.copy(folder / "whole", place / "db"))
        world = World(engine, FileStore(place / "store"))
        world.made.append(make_model(engine, world.store, b"build").model_id)
        for _ in world.delete():
            pass
        begun = [iter(_act(world, name)) for name in acts]
        while begun:
            one = order.choice(begun[:3])
            if next(one, "end") == "end":
                begun.remove(one)
            world.check()
        engine.dispose()

    check()


def _act(world: World, name: str) -> Iterator[None]:
    if name == "delete":
        return world.delete()
    return world.remove() if name == "remove" else world.build(name.encode())


def test_workers_and_removers_at_once_leave_every_artifact_its_content(
    engine: Engine, tmp_path: Path
) -> None:
    world = World(engine, FileStore(tmp_path / "store"))
    ends = time.monotonic() + 2.0
    failures: list[BaseException] = []

    def run(*names: str) -> None:
        try:
            while time.monotonic() < ends:
                for name in names:
                    for _ in _act(world, name):
                        pass
        except BaseException as error:
            failures.append(error)

    loops = [("build a", "delete"), ("build a", "build b"), ("delete", "remove"), ("remove", "delete")]
    threads = [threading.Thread(target=run, args=names) for names in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    world.check()
    with reading(engine) as connection:
        assert len(connection.execute(select(models)).all()) == len(world.made)
