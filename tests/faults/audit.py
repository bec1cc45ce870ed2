"""The audit: the record of every job, read again after the faults, must tell of nothing lost and nothing doubled."""

import hashlib
import itertools
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import Engine, select

from service.db import reading
from service.jobs import DONE, MOVES, State
from service.store import LEFT_AFTER_S
from service.tables import artifacts, idempotency_keys, job_events, jobs, models
from tests.faults.clients import Ledger
from tests.faults.fleet import Fleet, wait_until

# So many addresses of each tenant are asked for with the other one's key.
ASKED = 50
PAGE = 200
Ask = Callable[[str, str], httpx.Response]


@dataclass(frozen=True)
class Owned:
    """What the record says that one tenant has: ids of jobs, models and artifacts."""

    jobs: frozenset[str]
    models: frozenset[str]
    artifacts: frozenset[str]

    @property
    def places(self) -> list[str]:
        kinds = ("jobs", "models", "artifacts")
        return [f"/{kind}/{one}" for kind in kinds for one in sorted(getattr(self, kind))]


def settle(fleet: Fleet, timeout_s: float = 60.0) -> None:
    """Wait until every job has ended, starting again what was killed."""

    def ended() -> bool:
        fleet.keep()
        with reading(fleet.engine) as connection:
            states = Counter(connection.scalars(select(jobs.c.state)))
        return all(State(state) in DONE for state in states)

    wait_until(ended, timeout_s, fleet.logs)


def audit(fleet: Fleet, ledger: Ledger) -> Counter[str]:
    """Check everything; return how many jobs ended in each state."""
    assert not ledger.doubled, ledger.doubled
    check_answers(ledger)
    states = check_record(fleet.engine, fleet.store, ledger)
    fleet.wait_ready(30)
    check_tenants(read_owned(fleet), lambda tenant, path: fleet.ask("GET", path, tenant))
    return states


def read_owned(fleet: Fleet) -> dict[str, Owned]:
    """Return what each tenant has."""
    with reading(fleet.engine) as connection:
        found = [
            [
                connection.scalars(select(table.c.id).where(table.c.tenant == tenant)).all()
                for tenant in fleet.keys
            ]
            for table in (jobs, models, artifacts)
        ]
    return {tenant: Owned(*map(frozenset, ids)) for tenant, *ids in zip(fleet.keys, *found, strict=True)}


def check_tenants(owned: dict[str, Owned], ask: Ask) -> None:
    """Ask in the name of each tenant: it finds what is its own, in lists nothing else, and nothing of another's."""
    for tenant, mine in owned.items():
        for path in sample(mine.places):
            assert ask(tenant, path).status_code == 200, f"{tenant} does not find its own {path}"
        for other in owned.keys() - {tenant}:
            for path in sample(owned[other].places):
                assert ask(tenant, path).status_code == 404, f"{tenant} finds {path} of {other}"
        for kind in ("jobs", "models"):
            assert listed(kind, lambda path, tenant=tenant: ask(tenant, path)) == getattr(mine, kind), tenant


def sample(places: list[str]) -> list[str]:
    return random.Random(len(places)).sample(places, min(ASKED, len(places)))


def listed(kind: str, ask: Callable[[str], httpx.Response]) -> frozenset[str]:
    """Return the ids on all pages of a list."""
    ids, path = [], f"/{kind}?page_size={PAGE}"
    while True:
        page = ask(path).json()
        ids += [one["id"] for one in page[kind]]
        if page["next_page_token"] is None:
            break
        path = f"/{kind}?page_size={PAGE}&page_token={page['next_page_token']}"
    assert len(ids) == len(set(ids))
    return frozenset(ids)


def check_answers(ledger: Ledger) -> None:
    """Every refusal says when to come again."""
    for status, headers, problem in ledger.refused:
        assert status in (409, 503), (status, problem)
        assert "retry-after" in headers
        assert problem["retryable"]


def check_record(engine: Engine, store: Path, ledger: Ledger) -> Counter[str]:
    """Replay the events of all jobs and compare them with the tables and the files."""
    with reading(engine) as connection:
        found = {row.id: row for row in connection.execute(select(jobs))}
        events = connection.execute(select(job_events).order_by(job_events.c.id)).all()
        made = connection.execute(select(models)).all()
        files = connection.execute(select(artifacts)).all()
        keys = connection.execute(select(idempotency_keys)).all()
    lost = [job for job in ledger.accepted.values() if job not in found]
    assert not lost, f"accepted and not there: {lost}"
    of_job = defaultdict(list)
    for event in events:
        of_job[event.job_id].append(event)
    for job_id, row in found.items():
        check_moves(job_id, of_job[job_id], State(row.state))
    assert len({row.made for row in keys}) == len(keys), "two keys made one job"
    assert set(ledger.accepted.values()) <= {row.made for row in keys}
    check_owners(found, made, files, ledger)
    check_models(found, made, files, store)
    return Counter(row.state for row in found.values())


def check_moves(job_id: str, events: list, state: State) -> None:
    """A job moves only as it may, begins queued, ends once, and nothing happens to it afterwards."""
    told = [State(event.data["state"]) for event in events if event.kind in ("state", "done")]
    assert told, f"{job_id} has no events"
    assert told[0] is State.QUEUED
    for here, there in itertools.pairwise(told):
        assert there in MOVES[here], f"{job_id}: {here} -> {there}"
    assert told[-1] is state, f"{job_id} is {state}, its events say {told[-1]}"
    ends = [place for place, event in enumerate(events) if event.kind == "done"]
    if state in DONE:
        assert ends == [len(events) - 1], f"{job_id}: something happened after its end"
    else:
        assert not ends


def check_owners(found: dict, made: list, files: list, ledger: Ledger) -> None:
    """A job is its sender's, what was made for it too, and it is answered with nothing that another tenant has."""
    for (tenant, _), job in ledger.accepted.items():
        assert found[job].tenant == tenant
    for row in found.values():
        assert row.reused_from is None or found[row.reused_from].tenant == row.tenant, row.id
    owners = {row.id: found[row.job_id].tenant for row in made}
    assert {row.id: row.tenant for row in made} == owners
    assert not [file.id for file in files if file.tenant != owners.get(file.model_id)]


def check_models(found: dict, made: list, files: list, store: Path) -> None:
    """Each job that succeeded has one model with its files, whole; no other has any, and no file is nobody's."""
    succeeded = {job_id for job_id, row in found.items() if row.state == State.SUCCEEDED}
    assert Counter(row.job_id for row in made) == Counter(succeeded)
    of_model = defaultdict(list)
    for file in files:
        of_model[file.model_id].append(file)
    assert set(of_model) == {row.id for row in made}
    for model, rows in of_model.items():
        assert len({(row.kind, row.format) for row in rows}) == len(rows), f"{model} has a file twice"
        for row in rows:
            content = (store / row.sha256[:2] / row.sha256).read_bytes()
            assert len(content) == row.bytes
            assert hashlib.sha256(content).hexdigest() == row.sha256
    for row in made:
        named = json.loads(json.dumps(found[row.job_id].result))["artifacts"]
        assert {one["id"] for one in named} == {file.id for file in of_model[row.id]}


def orphans(fleet: Fleet) -> list[Path]:
    """Return the files in the store that no artifact names, unfinished ones too."""
    with reading(fleet.engine) as connection:
        known = set(connection.scalars(select(artifacts.c.sha256)))
    return [path for path in fleet.store.rglob("*") if path.name not in known and path.is_file()]


def sweep(fleet: Fleet, timeout_s: float = 150.0) -> int:
    """Let an hour pass for the files in the store; return how many were nobody's, once the service has removed those.

    The HTTP processes remove what is whole. What was left unfinished goes when a worker starts.
    """
    left = len(orphans(fleet))
    # Clocks may be wrong by an hour.
    then = time.time() - 3 * LEFT_AFTER_S
    for path in fleet.store.rglob("*"):
        with suppress(FileNotFoundError):
            os.utime(path, (then, then))
    fleet.workers[0].end()
    fleet.workers[0].wait()
    fleet.keep()
    wait_until(lambda: not orphans(fleet), timeout_s, fleet.logs)
    return left
