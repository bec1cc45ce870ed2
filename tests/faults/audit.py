"""The audit: the record of every job, read again after the faults, must tell of nothing lost and nothing doubled."""

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path

from sqlalchemy import Engine, select

from service.db import reading
from service.jobs import DONE, MOVES, State
from service.tables import artifacts, idempotency_keys, job_events, jobs, models
from tests.faults.clients import Ledger
from tests.faults.fleet import Fleet, wait_until


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
    return check_record(fleet.engine, fleet.store, ledger)


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
    """Return the whole files in the store that no artifact names."""
    with reading(fleet.engine) as connection:
        known = set(connection.scalars(select(artifacts.c.sha256)))
    return [
        path for path in fleet.store.glob("*/*") if path.name not in known and not path.name.startswith(".")
    ]
