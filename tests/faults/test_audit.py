"""The audit finds what it is there to find."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, delete, insert, select, update

from service.db import open_engine, reading, writing
from service.idempotency import Repeat, note_repeat
from service.jobs import add_event, add_job
from service.migrations import migrate
from service.models import Ending, outcome_of, publish
from service.queue import claim_next
from service.scopes import DEFAULT_TENANT
from service.store import FileStore
from service.tables import artifacts, job_events, jobs, models
from tests.faults.audit import Owned, check_answers, check_record, check_tenants
from tests.faults.clients import Ledger, request_of
from tests.service.making import make_assembly, scenario


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(tmp_path / "record.db")
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def ledger(engine: Engine, store: FileStore) -> Ledger:
    """Two jobs that were accepted, one of which has succeeded."""
    ledger = Ledger()
    now = time.time()
    with writing(engine) as connection:
        for key in ("one", "two"):
            job = add_job(
                connection, scenario(), digest=None, request_id="req_1", now=now, tenant=DEFAULT_TENANT
            )
            note_repeat(connection, Repeat.of("POST /models", key, ""), job.id, now=now)
            ledger.accept(DEFAULT_TENANT, key, job.id)
        taken = claim_next(connection, "w", lease_s=10, now=now)
        assert taken is not None
        assembly = make_assembly(b"a model")
        store.put(assembly.content)
        assert publish(connection, *taken, Ending(outcome_of(assembly), "sha256:d", []), now=now)
    return ledger


def only_file(store: FileStore) -> Path:
    (found,) = store.folder.glob("*/*")
    return found


def change(engine: Engine, act: Callable[[object], object]) -> None:
    with writing(engine) as connection:
        act(connection)


def first_job(engine: Engine) -> str:
    with reading(engine) as connection:
        job: str = connection.scalars(select(jobs.c.id).order_by(jobs.c.id)).first()
    return job


def test_a_sound_record_passes(engine: Engine, store: FileStore, ledger: Ledger) -> None:
    assert check_record(engine, store.folder, ledger) == {"succeeded": 1, "queued": 1}


def test_a_job_that_was_accepted_and_is_not_there_is_found(
    engine: Engine, store: FileStore, ledger: Ledger
) -> None:
    ledger.accept(DEFAULT_TENANT, "three", "job_lost")
    with pytest.raises(AssertionError, match="job_lost"):
        check_record(engine, store.folder, ledger)


def test_a_file_that_is_lost_or_damaged_is_found(engine: Engine, store: FileStore, ledger: Ledger) -> None:
    only_file(store).write_bytes(b"b model")
    with pytest.raises(AssertionError):
        check_record(engine, store.folder, ledger)
    only_file(store).unlink()
    with pytest.raises(FileNotFoundError):
        check_record(engine, store.folder, ledger)


FAULTS: dict[str, Callable[[Engine], None]] = {
    "a state without an event": lambda engine: change(
        engine, lambda c: c.execute(update(jobs).where(jobs.c.state == "queued").values(state="cancelled"))
    ),
    "a move that is none": lambda engine: change(
        engine,
        lambda c: c.execute(
            update(job_events).where(job_events.c.data["state"].as_string() == "running").values(kind="phase")
        ),
    ),
    "something after the end": lambda engine: change(
        engine, lambda c: add_event(c, first_job(engine), "progress", {"progress": 0.5}, now=1.0)
    ),
    "an end that was told twice": lambda engine: change(
        engine, lambda c: add_event(c, first_job(engine), "done", {"state": "succeeded"}, now=1.0)
    ),
    "a model that is lost": lambda engine: change(
        engine, lambda c: (c.execute(delete(artifacts)), c.execute(delete(models)))
    ),
    "a file that is there twice": lambda engine: change(engine, lambda c: double(c)),
    "a job of somebody else": lambda engine: change(
        engine, lambda c: c.execute(update(jobs).values(tenant="zeta"))
    ),
    "a model of somebody else": lambda engine: change(
        engine, lambda c: c.execute(update(models).values(tenant="zeta"))
    ),
    "a file of somebody else": lambda engine: change(
        engine, lambda c: c.execute(update(artifacts).values(tenant="zeta"))
    ),
    "no events": lambda engine: change(engine, lambda c: c.execute(delete(job_events))),
}


def double(connection: object) -> None:
    row = connection.execute(select(artifacts)).mappings().first()
    connection.execute(insert(artifacts).values(**{**row, "id": "art_twice"}))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_record_is_found(
    engine: Engine, store: FileStore, ledger: Ledger, fault: str
) -> None:
    FAULTS[fault](engine)
    with pytest.raises(AssertionError):
        check_record(engine, store.folder, ledger)


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"retry-after": "1"}, {"retryable": True}),
        (503, {}, {"retryable": True}),
        (503, {"retry-after": "1"}, {"retryable": False}),
    ],
)
def test_an_answer_that_does_not_say_when_to_come_again_is_found(answer: tuple) -> None:
    with pytest.raises(AssertionError):
        check_answers(Ledger(refused=[answer]))


def test_a_key_that_made_two_jobs_is_found() -> None:
    ledger = Ledger()
    ledger.accept("acme", "one", "job_1")
    ledger.accept("zeta", "one", "job_2")
    assert ledger.doubled == []
    ledger.accept("acme", "one", "job_3")
    assert ledger.doubled == [("acme", "one", "job_1", "job_3")]


OWNED = {
    tenant: Owned(frozenset({f"job_{tenant}"}), frozenset({f"mdl_{tenant}"}), frozenset({f"art_{tenant}"}))
    for tenant in ("acme", "zeta")
}


def answer(tenant: str, path: str, leak: str = "") -> httpx.Response:
    """Answer as a service does that may show one address to everybody."""
    kind = path.removeprefix("/").partition("?")[0]
    if kind in ("jobs", "models"):
        rows = [one for name in OWNED for one in getattr(OWNED[name], kind) if name == tenant or kind == leak]
        return httpx.Response(200, json={kind: [{"id": one} for one in rows], "next_page_token": None})
    return httpx.Response(200 if path.endswith(tenant) or path == leak else 404)


def test_tenants_that_see_only_their_own_pass() -> None:
    check_tenants(OWNED, answer)


@pytest.mark.parametrize(
    "leak", ["/jobs/job_zeta", "/models/mdl_acme", "/artifacts/art_zeta", "jobs", "models"]
)
def test_what_a_tenant_sees_of_another_is_found(leak: str) -> None:
    with pytest.raises(AssertionError):
        check_tenants(OWNED, lambda tenant, path: answer(tenant, path, leak))


def test_what_a_tenant_does_not_see_of_its_own_is_found() -> None:
    with pytest.raises(AssertionError, match="own /jobs/job_acme"):
        check_tenants(OWNED, lambda *_: httpx.Response(404))


def test_both_tenants_use_the_same_keys_and_ask_for_the_same() -> None:
    sent = [request_of(number) for number in range(8)]
    assert [tenant for tenant, _, _ in sent] == [
        *("acme", "zeta", "acme", "acme"),
        *("acme", "zeta", "acme", "zeta"),
    ]
    assert [key for _, key, _ in sent] == [f"key-{n}" for n in (0, 0, 2, 3, 4, 4, 6, 7)]
    assert [wanted for _, _, wanted in sent] == [0, 1, 2, 0, 4, 5, 6, 4]
