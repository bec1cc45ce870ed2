import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from assembler.artifact import Assembly, Diagnosis, Predicted
from assembler.errors import (
    CompileFailed,
    FieldProblem,
    Infeasible,
    MeasurementFailed,
    ScenarioInvalid,
    VerificationFailed,
)
from assembler.phase import Phase, PhaseProgress
from assembler.scenario import Scenario
from service.contents import begin_removal, doom, end_removal
from service.db import reading, writing
from service.house import House
from service.jobs import Job, State, add_job, cancel, get_job, list_events
from service.models import Outcome, get_artifact, get_model, list_artifacts
from service.pulse import Pulse
from service.queue import TWINS_AT_ONCE, sweep
from service.removal import delete_model
from service.scopes import DEFAULT_TENANT
from service.tables import jobs
from service.worker import Builder, Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import (
    Building,
    build_both,
    digest_of,
    make_assembly,
    scenario,
)

pytestmark = ON_BOTH_DATABASES

Make = Callable[..., Worker]
FIGURES = Predicted(latency_ms=0.1, memory_mb=1, size_mb=0.1, accuracy=0.5)
DIAGNOSIS = Diagnosis(feasible=False, binding=("latency_ms",), best_possible=FIGURES, nearest=())


def add(
    house: House,
    now: float | None = None,
    tenant: str = DEFAULT_TENANT,
    digest: str | None = None,
    **changes: object,
) -> Job:
    made = {"digest": digest, "request_id": "req_1", "now": now or time.time(), "tenant": tenant}
    with writing(house.engine) as connection:
        return add_job(connection, scenario(**changes), **made)


def read(house: House, job: Job) -> Job:
    with reading(house.engine) as connection:
        found = get_job(connection, job.id)
    assert found is not None
    return found


def raising(error: BaseException) -> Building:
    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        yield Phase("assembling")
        raise error

    return Building(build)


def test_a_job_goes_from_the_queue_to_a_stored_and_published_file(house: House, worker_with: Make) -> None:
    job = add(house)
    worker = worker_with()
    assert worker.work_once()
    assert not worker.work_once()
    ended = read(house, job)
    assert (ended.state, ended.attempt, ended.progress) == (State.SUCCEEDED, 1, 1.0)
    assert [phase["name"] for phase in ended.phases] == ["assembling", "compiling", "storing"]
    assert {phase["state"] for phase in ended.phases} == {"succeeded"}
    assert ended.scenario_digest == digest_of(scenario())
    with reading(house.engine) as connection:
        (file,) = list_artifacts(connection, job.model_id)
        events = [event.kind for event in list_events(connection, job.id)]
    assert house.store.get(file.artifact.sha256) == digest_of(scenario()).encode()
    assert events == ["state", "state", "phase", "phase", "phase", "done"]


def test_an_equal_scenario_is_answered_from_the_store(house: House, worker_with: Make) -> None:
    built: list[Scenario] = []

    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        built.append(wanted)
        yield make_assembly(b"onnx")

    worker = worker_with(Building(build))
    first, second = add(house, name="one"), add(house, name="two", labels={"site": "x"})
    worker.work_once()
    worker.work_once()
    assert len(built) == 1
    again = read(house, second)
    assert (again.state, again.reused_from) == (State.SUCCEEDED, first.id)
    original = read(house, first)
    assert original.result is not None
    assert again.result is not None
    assert {**again.result, "artifacts": []} == {**original.result, "artifacts": []}
    assert again.result["artifacts"][0]["sha256"] == original.result["artifacts"][0]["sha256"]
    assert again.result["artifacts"][0]["id"] != original.result["artifacts"][0]["id"]


def test_a_scenario_is_built_anew_when_the_stored_file_is_damaged(house: House, worker_with: Make) -> None:
    worker = worker_with()
    add(house)
    worker.work_once()
    for path in house.settings.store_path.rglob("*"):
        if path.is_file():
            path.write_bytes(b"torn")
    job = add(house)
    worker.work_once()
    ended = read(house, job)
    assert (ended.state, ended.reused_from) == (State.SUCCEEDED, None)
    assert ended.result is not None
    assert house.store.holds(ended.result["artifacts"][0]["sha256"])


class OutOfMemoryError(RuntimeError):
    """Named as the framework names its own."""


FAILURES: list[tuple[BaseException, str, str]] = [
    (Infeasible(DIAGNOSIS), "scenario-infeasible", "user"),
    (VerificationFailed(0.1, 0.0001), "verification-failed", "service"),
    (CompileFailed("a secret of the checker"), "compile-failed", "service"),
    (MeasurementFailed("the runtime refuses the file"), "verification-failed", "service"),
    (MemoryError(), "out-of-memory", "service"),
    (OutOfMemoryError("device"), "out-of-memory", "service"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory", "service"),
    (OSError(28, "No space left on device"), "storage-full", "service"),
    (KeyError("secret"), "internal", "service"),
    (
        ScenarioInvalid("unknown-class", "gone", (FieldProblem("/task/classes/0", "unknown-class", "gone"),)),
        "unknown-class",
        "user",
    ),
]


@pytest.mark.parametrize(("error", "code", "fault"), FAILURES)
def test_whatever_a_job_raises_ends_it_with_a_problem(
    house: House, worker_with: Make, error: BaseException, code: str, fault: str
) -> None:
    job = add(house)
    assert worker_with(raising(error)).work_once()
    ended = read(house, job)
    assert ended.state is State.FAILED
    assert ended.result is None
    assert ended.error is not None
    assert (ended.error["code"], ended.error["fault"], ended.error["type"]) == (
        code,
        fault,
        f"/problems/{code}",
    )
    assert (ended.error["request_id"], ended.error["instance"]) == ("req_1", f"/jobs/{job.id}")
    assert "secret" not in ended.error["detail"]
    assert [phase["state"] for phase in ended.phases] == ["failed"]


def test_an_infeasible_job_says_what_comes_nearest(house: House, worker_with: Make) -> None:
    job = add(house)
    worker_with(raising(Infeasible(DIAGNOSIS))).work_once()
    error = read(house, job).error
    assert error is not None
    assert error["diagnosis"] == DIAGNOSIS.model_dump(mode="json")


def test_equal_scenarios_that_cannot_be_met_are_tried_once(house: House, worker_with: Make) -> None:
    tried: list[Scenario] = []

    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        tried.append(wanted)
        raise Infeasible(DIAGNOSIS)
        yield

    digest = digest_of(scenario())
    equal = [add(house, digest=digest) for _ in range(TWINS_AT_ONCE + 2)]
    other = add(house, tenant="zeta", digest=digest)
    worker = worker_with(Building(build))
    assert worker.work_once()
    assert {read(house, job).state for job in equal} == {State.FAILED}
    assert read(house, other).state is State.QUEUED
    last = read(house, equal[-1])
    assert last.error is not None
    assert (last.error["code"], last.error["instance"]) == ("scenario-infeasible", f"/jobs/{last.id}")
    assert len(tried) == 1


def test_a_job_whose_twin_turns_out_to_be_running_waits_for_it(house: House, worker_with: Make) -> None:
    built: list[Scenario] = []

    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        built.append(wanted)
        assert other.work_once()
        yield make_assembly(b"onnx")

    first, second = add(house), add(house)
    worker, other = worker_with(Building(build)), worker_with(Building(build))
    assert worker.work_once()
    worker.work_once()
    assert len(built) == 1
    assert read(house, second).reused_from == first.id


def test_a_worker_goes_on_after_a_failed_job(house: House, worker_with: Make) -> None:
    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        if wanted.name == "bad":
            raise ValueError
        yield make_assembly(b"onnx")

    worker = worker_with(Building(build))
    bad, good = add(house, name="bad", device="a"), add(house, name="good")
    worker.work_once()
    worker.work_once()
    assert (read(house, bad).state, read(house, good).state) == (State.FAILED, State.SUCCEEDED)


def test_a_job_that_runs_past_its_deadline_ends_with_a_timeout(house: House, worker_with: Make) -> None:
    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        yield Phase("one")
        time.sleep(1.2)
        yield Phase("two")

    job = add(house, deadline_s=1.0)
    worker_with(Building(build)).work_once()
    ended = read(house, job)
    assert ended.state is State.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "timeout"
    assert [(phase["name"], phase["state"]) for phase in ended.phases] == [("one", "failed")]


def test_a_worker_that_is_stopped_puts_its_job_back(house: House, worker_with: Make) -> None:
    workers: list[Worker] = []

    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        yield Phase("one")
        workers[0].stop()
        yield Phase("two")

    job = add(house)
    workers.append(worker_with(Building(build)))
    workers[0].work_once()
    back = read(house, job)
    assert (back.state, back.worker, back.crashes) == (State.QUEUED, None, 0)


@pytest.mark.parametrize("ending", ["phase", "progress", "assembly", "error", "stop"])
def test_a_running_job_that_is_cancelled_ends_at_its_next_step(
    house: House, worker_with: Make, ending: str
) -> None:
    job = add(house)

    def build(_: Scenario) -> Iterator[Phase | PhaseProgress | Assembly]:
        yield Phase("one")
        with writing(house.engine) as connection:
            assert cancel(connection, job.id, now=time.time())
        time.sleep(2 * house.settings.beat_s)
        if ending == "error":
            raise KeyError
        if ending == "stop":
            worker.stop()
        if ending == "progress":
            yield PhaseProgress(0.5)
        if ending in ("phase", "stop"):
            yield Phase("two")
        if ending != "assembly":
            pytest.fail("it goes on after it was cancelled")
        yield make_assembly(b"onnx")

    worker = worker_with(Building(build))
    assert worker.work_once()
    ended = read(house, job)
    assert (ended.state, ended.result, ended.error, ended.worker) == (State.CANCELLED, None, None, None)
    assert ended.finished_at is not None
    with reading(house.engine) as connection:
        assert list_artifacts(connection, job.model_id) == []
        states = [event.data["state"] for event in list_events(connection, job.id) if event.kind != "phase"]
    assert states == ["queued", "running", "cancelling", "cancelled"]


def test_how_far_a_long_phase_is_is_told_once_a_beat(house: House, worker_with: Make) -> None:
    job, seen = add(house), []

    def build(_: Scenario) -> Iterator[Phase | PhaseProgress | Assembly]:
        yield Phase("refining")
        for step in range(40):
            yield PhaseProgress(step / 40)
            seen.append(read(house, job).progress)
            time.sleep(house.settings.beat_s / 10)
        yield make_assembly(b"onnx")

    worker_with(Building(build)).work_once()
    assert seen == sorted(seen)
    assert 2 < len(set(seen)) < 20
    with reading(house.engine) as connection:
        told = [
            event.data["progress"] for event in list_events(connection, job.id) if event.kind == "progress"
        ]
    assert told == sorted(set(told))
    assert set(told) - {0.0} == set(seen) - {0.0}


def test_what_a_worker_made_after_it_lost_the_job_does_not_count(house: House, worker_with: Make) -> None:
    other = worker_with(worker="wrk_2")

    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        yield Phase("one")
        with writing(house.engine) as connection:
            assert sweep(connection, now=time.time() + 100) == 1
        assert other.work_once()
        yield make_assembly(b"too late")

    job = add(house)
    worker_with(Building(build)).work_once()
    ended = read(house, job)
    assert (ended.state, ended.attempt) == (State.SUCCEEDED, 2)
    with reading(house.engine) as connection:
        (file,) = list_artifacts(connection, job.model_id)
    assert house.store.get(file.artifact.sha256) != b"too late"


def test_a_job_that_is_reused_publishes_model_and_bundle_without_building(
    house: House, worker_with: Make
) -> None:
    built, asked, waiting = [], [add(house), add(house)], add(house)

    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        built.append(wanted)
        yield from build_both(wanted)

    worker = worker_with(Building(build))
    while worker.work_once():
        pass
    asked.append(add(house))
    assert worker.work_once()
    assert len(built) == 1
    with reading(house.engine) as connection:
        files = [list_artifacts(connection, job.model_id) for job in (*asked, waiting)]
    digests = {tuple((file.artifact.kind, file.artifact.sha256) for file in found) for found in files}
    assert len(digests) == 1
    ((model, bundle),) = digests
    assert (model[0], bundle[0]) == ("model", "bundle")
    assert house.store.holds(model[1])
    assert house.store.holds(bundle[1])


@pytest.mark.parametrize("lost", [0, 1])
def test_a_file_that_is_lost_is_built_again(house: House, worker_with: Make, lost: int) -> None:
    worker, job = worker_with(Building(build_both)), add(house)
    assert worker.work_once()
    with reading(house.engine) as connection:
        digest = list_artifacts(connection, job.model_id)[lost].artifact.sha256
    (house.store.folder / digest[:2] / digest).unlink()
    again = add(house)
    assert worker.work_once()
    assert read(house, again).reused_from is None
    assert house.store.holds(digest)


def test_a_bundle_whose_digest_is_wrong_is_not_delivered(house: House, worker_with: Make) -> None:
    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        right = make_assembly(b"right", bundled=True)
        assert right.bundle is not None
        yield replace(right, bundle=replace(right.bundle, content=b"wrong"))

    job = add(house)
    worker_with(Building(build)).work_once()
    assert read(house, job).state is State.FAILED


def test_each_tenant_has_its_own_build_of_an_equal_scenario(house: House, worker_with: Make) -> None:
    jobs = [add(house, tenant=tenant) for tenant in ("acme", "zeta", "acme")]
    worker = worker_with()
    while worker.work_once():
        pass
    first, other, again = (read(house, job) for job in jobs)
    assert (first.reused_from, other.reused_from, again.reused_from) == (None, None, first.id)
    assert {job.state for job in (first, other, again)} == {State.SUCCEEDED}
    with reading(house.engine) as connection:
        for tenant, job in (("acme", first), ("zeta", other), ("acme", again)):
            model, (file,) = (
                get_model(connection, tenant, job.model_id),
                list_artifacts(connection, job.model_id),
            )
            assert (model and model.tenant, file.tenant) == (tenant, tenant)
            assert get_artifact(connection, "nobody", file.id) is None


def test_an_assembly_whose_digest_is_wrong_is_not_delivered(house: House, worker_with: Make) -> None:
    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        right = make_assembly(b"right")
        yield Assembly(
            b"wrong", right.artifact, right.manifest, right.predicted, right.measured, right.limits_check
        )

    job = add(house)
    worker_with(Building(build)).work_once()
    assert read(house, job).state is State.FAILED


def test_a_waiting_worker_takes_a_job_within_milliseconds_and_ends_when_told(
    house: House, worker_with: Make
) -> None:
    begun = threading.Event()
    times: list[float] = []

    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        times.append(time.time())
        begun.set()
        yield make_assembly(b"onnx")

    worker = worker_with(Building(build))
    thread = threading.Thread(target=worker.run)
    thread.start()
    delays: list[float] = []
    try:
        for number in range(5):
            time.sleep(0.05)
            job = add(house, name=str(number), deadline_s=60 + number, limits={"size_mb": 1 + number})
            assert begun.wait(5.0)
            begun.clear()
            delays.append(times[-1] - job.created_at)
    finally:
        worker.stop()
        thread.join(5.0)
    assert not thread.is_alive()
    assert sorted(delays)[2] < 0.1


def test_several_workers_share_the_queue_and_no_scenario_is_built_twice(
    house: House, worker_with: Make
) -> None:
    built: list[str] = []

    def build(wanted: Scenario) -> Iterator[Phase | Assembly]:
        built.append(digest_of(wanted))
        yield Phase("one")
        time.sleep(0.005)
        yield make_assembly(digest_of(wanted).encode())

    jobs = []
    for number in range(45):
        wanted = scenario(limits={"size_mb": 1 + number % 15})
        with writing(house.engine, durable=False) as connection:
            jobs.append(
                add_job(connection, wanted, digest=digest_of(wanted), request_id="req_1", now=time.time())
            )
    workers = [worker_with(Building(build), worker=f"wrk_{number}") for number in range(3)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + 30
    while not all(read(house, job).done for job in jobs) and time.monotonic() < ends:
        time.sleep(0.02)
    for worker, thread in zip(workers, threads, strict=True):
        worker.stop()
        thread.join(5)
    ended = [read(house, job) for job in jobs]
    assert {(job.state, job.attempt) for job in ended} == {(State.SUCCEEDED, 1)}
    assert sorted(built) == sorted({digest_of(scenario(limits={"size_mb": 1 + n})) for n in range(15)})
    assert sum(job.reused_from is not None for job in ended) == 30


def test_the_fakes_of_these_tests_are_builders() -> None:
    builder: Builder = Building()
    steps: Any = builder.build(scenario())
    assert isinstance(list(steps)[-1], Assembly)


def test_a_content_that_is_being_removed_is_waited_for_and_stored_again(
    house: House, worker_with: Make
) -> None:
    sha256 = house.store.put(digest_of(scenario()).encode())
    with writing(house.engine) as connection:
        doom(connection, [sha256], now=0.0)
        removal = begin_removal(connection, now=time.time(), limit=1)
    job = add(house)
    thread = threading.Thread(target=worker_with().work_once)
    thread.start()
    time.sleep(0.3)
    assert read(house, job).phase == "storing"
    house.store.remove(sha256)
    with writing(house.engine) as connection:
        end_removal(connection, removal)
    thread.join()
    assert read(house, job).state is State.SUCCEEDED
    assert house.store.holds(sha256)


def test_a_worker_that_is_stopped_while_it_waits_for_a_removal_gives_its_job_back(
    house: House, worker_with: Make
) -> None:
    with writing(house.engine) as connection:
        doom(connection, [house.store.put(digest_of(scenario()).encode())], now=0.0)
        begin_removal(connection, now=time.time(), limit=1)
    job = add(house)
    worker = worker_with()
    thread = threading.Thread(target=worker.work_once)
    thread.start()
    time.sleep(0.3)
    worker.stop()
    thread.join()
    assert read(house, job).state is State.QUEUED


class Overtaken(Worker):
    """A worker whose models are deleted before it comes to their twins."""

    def _end_twins(self, job: Job, outcome: Outcome, digest: str) -> bool:
        with writing(self._engine) as connection:
            delete_model(connection, job.tenant, job.model_id, now=time.time())
        return super()._end_twins(job, outcome, digest)


def test_twins_of_a_model_that_was_deleted_at_once_are_built_by_themselves(house: House) -> None:
    _, second = (add(house) for _ in range(2))
    with writing(house.engine) as connection:
        connection.execute(update(jobs).values(scenario_digest=digest_of(scenario())))
    pulse = Pulse(house.engine, house.settings, "wrk_1")
    worker = Overtaken(house.settings, house.engine, house.store, Building(), pulse, "wrk_1")
    assert worker.work_once()
    assert read(house, second).state is State.QUEUED
    assert worker.work_once()
    assert (read(house, second).state, read(house, second).reused_from) == (State.SUCCEEDED, None)
