"""The worker: takes jobs from the queue one by one, and is the only place that catches what they raise."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from assembler.artifact import Assembly
from assembler.errors import Infeasible
from assembler.phase import Phase, PhaseProgress
from assembler.scenario import Scenario
from service.contents import decide_alone, pin
from service.db import AWAY, is_embedded, now_in, writing
from service.deliveries import Deliveries
from service.devices import BUILT_IN, NONE, Own, find_own
from service.errors import Refused, job_problem
from service.jobs import Hold, Job, State, move
from service.logs import about
from service.models import Ending, Outcome, find_twin, list_artifacts, outcome_of, publish
from service.profiles import share_profiles
from service.progress import Progress
from service.pulse import Keeper
from service.queue import (
    TWINS_AT_ONCE,
    claim_next,
    claim_twin,
    confirm_cancel,
    fail_twins,
    give_way,
    note_digest,
    note_phases,
    note_progress,
    release,
)
from service.settings import Settings
from service.store import Store, StoreAway
from service.traces import OFF, Traces
from service.watch import open_watch

AWAKE_S = 0.01
DROWSY_S = 0.02
DROWSY_AFTER_S = 5.0
# How long a job that is being worked on waits for a database server that is away.
AWAY_S = 120.0
AGAIN_S = 0.25
# How often it is looked whether a content that is needed has been removed at last.
REMOVED_S = 0.05

log = logging.getLogger(__name__)

T = TypeVar("T")


class Builder(Protocol):
    """Makes models; everything it needs is loaded."""

    def digest(self, scenario: Scenario, own: Own) -> str:
        """Return the digest of a scenario, for whose device there may be one of its owner. Raises ScenarioInvalid."""

    def look(self) -> bool:
        """Take up supernets that have come since; called between jobs, often. Say whether there may be new profiles."""

    def build(self, scenario: Scenario, own: Own) -> Iterable[Phase | PhaseProgress | Assembly]:
        """Yield the phases as they begin and how far long ones have come, then the Assembly."""


class LeaseLost(Exception):
    """Another worker holds the job now, or it has ended: whatever this one made of it does not count."""


class Interrupted(Exception):
    """The worker is asked to stop."""


class Worker:
    """One worker process' work on the queue."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        store: Store,
        builder: Builder,
        keeper: Keeper,
        worker: str,
        traces: Traces = OFF,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._store = store
        self._builder = builder
        self._keeper = keeper
        self._id = worker
        self._traces = traces
        self._stop = threading.Event()
        self._told_at = 0.0

    def stop(self) -> None:
        """End after the present phase; the job goes back to the queue."""
        self._stop.set()

    def run(self, deliveries: Deliveries | None = None) -> None:
        """Work until asked to stop.

        Args:
            deliveries: say which jobs wait; None looks at the database alone, often.
        """
        if deliveries is None:
            self._run_watching()
        else:
            self._run_delivered(deliveries)

    def _run_delivered(self, deliveries: Deliveries) -> None:
        """Do what is delivered; once a beat, and as long as that finds any, what no delivery told of."""
        looked_at, behind = time.monotonic(), False
        while not self._stop.is_set():
            due_s = looked_at + self._settings.beat_s - time.monotonic()
            delivery = deliveries.next(0.0 if behind else max(0.0, due_s))
            if delivery is not None:
                try:
                    self.work_once(delivery.job_id)
                finally:
                    delivery.done()
            if behind or due_s <= 0:
                self._look()
                behind = self.work_once()
                looked_at = time.monotonic()

    def _run_watching(self) -> None:
        watch = open_watch(self._engine)
        worked_at = looked_at = time.monotonic()
        try:
            while not self._stop.is_set():
                if time.monotonic() - looked_at > self._settings.beat_s:
                    self._look()
                    looked_at = time.monotonic()
                if self.work_once():
                    worked_at = time.monotonic()
                    continue
                while (
                    not self._stop.is_set()
                    and not watch.changed()
                    and time.monotonic() - looked_at <= self._settings.beat_s
                ):
                    drowsy = time.monotonic() - worked_at > DROWSY_AFTER_S
                    time.sleep(DROWSY_S if drowsy else AWAKE_S)
        finally:
            watch.close()

    def _look(self) -> None:
        """Take up new supernets, and tell other machines what was measured for them."""
        if self._builder.look() and not is_embedded(self._engine):
            folder = self._settings.data_dir
            self._write(lambda connection: share_profiles(connection, folder, now=now_in(connection)))

    def work_once(self, job_id: str | None = None) -> bool:
        """Take the next job, or a certain one, to its end if it may run; say whether there was one."""
        taken = self._note(
            lambda connection: claim_next(
                connection, self._id, lease_s=self._settings.lease_s, now=now_in(connection), job_id=job_id
            )
        )
        if taken is None:
            return False
        job, hold = taken
        ends_at = time.monotonic() + min(self._settings.job_timeout_s, _left_s(job))
        self._keeper.begin(hold, job.request_id, ends_at)
        progress = Progress(self._traces.begin_job(job, hold))
        trace = {} if progress.spans.trace_id is None else {"trace_id": progress.spans.trace_id}
        try:
            with about(job_id=job.id, request_id=job.request_id, **trace):
                self._work(job, hold, ends_at, progress)
        finally:
            progress.spans.close()
            self._keeper.end()
        return True

    def _work(self, job: Job, hold: Hold, ends_at: float, progress: Progress) -> None:
        digest = job.scenario_digest
        try:
            scenario = Scenario.model_validate_json(json.dumps(job.scenario))
            own = self._own_devices(job.tenant, scenario)
            digest = self._builder.digest(scenario, own)
            if digest != job.scenario_digest and self._gives_way(job, hold, digest):
                return
            if not self._reuse(job, hold, digest, progress):
                outcome = self._build(scenario, own, hold, ends_at, progress)
                self._publish(job, hold, outcome, digest, progress)
                while self._end_twins(job, outcome, digest):
                    pass
        except LeaseLost:
            if self._cancelled(hold):
                progress.spans.note(State.CANCELLED)
            else:
                log.warning("job %s is held by another worker now", job.id)
        except Interrupted:
            if not self._write(lambda connection: release(connection, hold, now=now_in(connection))):
                self._cancelled(hold)
        except Exception as error:
            self._fail(job, hold, error, digest, progress)

    def _own_devices(self, tenant: str, scenario: Scenario) -> Own:
        """Return the tenant's device that a scenario is for, with its newest profiles, unless it is built in."""
        if scenario.device in BUILT_IN:
            return NONE
        return self._note(lambda connection: find_own(connection, tenant, [scenario.device]))

    def _gives_way(self, job: Job, hold: Hold, digest: str) -> bool:
        return self._note(lambda connection: give_way(connection, job, hold, digest, now=now_in(connection)))

    def _reuse(self, job: Job, hold: Hold, digest: str, progress: Progress) -> bool:
        """End a job with the files that an equal scenario left, if there are any and they are whole."""
        _demand(self._note(lambda connection: note_digest(connection, hold, digest)))
        twin = self._note(lambda connection: find_twin(connection, job.tenant, digest))
        if twin is None:
            return False
        self._keep(hold, twin[1])
        if not all(self._store.holds(one.sha256) for one, _ in twin[1].artifacts):
            return False
        source, outcome = twin
        self._publish(job, hold, outcome, digest, progress, reused_from=source.id)
        return True

    def _end_twins(self, job: Job, outcome: Outcome, digest: str) -> bool:
        """End some of the jobs that waited for this build, in one transaction; say whether there may be more."""
        ended: list[tuple[Job, Hold]] = []

        def end(connection: Connection) -> bool:
            ended.clear()
            decide_alone(connection)
            if not list_artifacts(connection, job.model_id):
                # Deleted already: its files may be gone.
                return False
            for _ in range(TWINS_AT_ONCE):
                now = now_in(connection)
                taken = claim_twin(
                    connection, self._id, job.tenant, digest, lease_s=self._settings.lease_s, now=now
                )
                if taken is None:
                    return False
                publish(connection, *taken, Ending(outcome, digest, [], reused_from=job.id), now=now)
                ended.append(taken)
            return True

        more = self._write(end)
        for twin in ended:
            spans = self._traces.begin_job(*twin)
            spans.note(State.SUCCEEDED, reused_from=job.id)
            spans.close()
        return more and not self._stop.is_set()

    def _build(self, scenario: Scenario, own: Own, hold: Hold, ends_at: float, progress: Progress) -> Outcome:
        assembly: Assembly | None = None
        for step in self._builder.build(scenario, own):
            if isinstance(step, Assembly):
                assembly = step
                break
            if isinstance(step, PhaseProgress):
                self._go_on(step.share, hold, ends_at, progress)
            else:
                self._begin_phase(step.name, hold, ends_at, progress)
        if assembly is None:
            raise RuntimeError("the builder ended without an assembly")
        self._begin_phase("storing", hold, ends_at, progress)
        self._keep(hold, outcome_of(assembly))
        for content, artifact, _ in assembly.files:
            if self._put(content, ends_at) != artifact.sha256:
                raise RuntimeError("an artifact's digest is not that of its content")
        return outcome_of(assembly)

    def _keep(self, hold: Hold, outcome: Outcome) -> None:
        """Have the files of an outcome stay in the store until this attempt has ended, waiting for a removal to end."""
        digests = [artifact.sha256 for artifact, _ in outcome.artifacts]
        while not self._write(lambda connection: pin(connection, hold, digests, now=now_in(connection))):
            if self._stop.is_set():
                raise Interrupted
            time.sleep(REMOVED_S)

    def _put(self, content: bytes, ends_at: float) -> str:
        """Store a content; when a shared store is away, again until it is back."""
        until = min(ends_at, time.monotonic() + AWAY_S)
        while True:
            try:
                return self._store.put(content)
            except StoreAway as error:
                if self._stop.is_set() or time.monotonic() > until:
                    raise
                log.warning("%s; it is asked again", error)
                time.sleep(AGAIN_S)

    def _begin_phase(self, name: str, hold: Hold, ends_at: float, progress: Progress) -> None:
        self._check_time(ends_at)
        progress.begin(name)
        self._told_at = time.monotonic()
        phases, share = progress.phases, progress.share
        _demand(
            self._note(
                lambda connection: note_phases(connection, hold, phases, share, now=now_in(connection))
            )
        )

    def _go_on(self, share: float, hold: Hold, ends_at: float, progress: Progress) -> None:
        """Tell how far a phase has come, once a beat."""
        self._check_time(ends_at)
        progress.go_on(share)
        if time.monotonic() - self._told_at >= self._settings.beat_s:
            self._told_at, along = time.monotonic(), progress.share
            _demand(
                self._note(lambda connection: note_progress(connection, hold, along, now=now_in(connection)))
            )

    def _check_time(self, ends_at: float) -> None:
        if self._stop.is_set():
            raise Interrupted
        if time.monotonic() > ends_at:
            detail = "the job did not end within its deadline or the time that jobs are given"
            raise Refused("timeout", detail)

    def _publish(
        self,
        job: Job,
        hold: Hold,
        outcome: Outcome,
        digest: str,
        progress: Progress,
        reused_from: str | None = None,
    ) -> None:
        progress.end()
        ending = Ending(outcome, digest, progress.phases, reused_from)
        _demand(
            self._write(lambda connection: publish(connection, job, hold, ending, now=now_in(connection)))
        )
        progress.spans.note(State.SUCCEEDED, reused_from=reused_from)

    def _fail(self, job: Job, hold: Hold, error: Exception, digest: str | None, progress: Progress) -> None:
        progress.end(succeeded=False)
        found = job_problem(error, job_id=job.id, request_id=job.request_id)
        if found["fault"] == "service":
            log.error("job %s failed: %s", job.id, error, exc_info=not isinstance(error, Refused))
        progress.spans.note(State.FAILED, found["code"])
        end: dict[str, Any] = {"hold": hold, "error": found, "phases": progress.phases}
        if not self._write(
            lambda connection: move(connection, job.id, State.FAILED, now=now_in(connection), **end)
        ):
            self._cancelled(hold)
        elif isinstance(error, Infeasible) and digest is not None:
            while self._fail_twins(job, digest, found):
                pass

    def _fail_twins(self, job: Job, digest: str, error: dict[str, Any]) -> bool:
        """End some of the jobs that waited for a build that cannot be; say whether there may be more."""
        ended = self._write(
            lambda connection: fail_twins(connection, job, digest, error, now=now_in(connection))
        )
        for twin in ended:
            spans = self._traces.begin_job(*twin)
            spans.note(State.FAILED, error["code"])
            spans.close()
        return len(ended) == TWINS_AT_ONCE and not self._stop.is_set()

    def _cancelled(self, hold: Hold) -> bool:
        """End a job that was to be cancelled; say whether it was."""
        return self._write(lambda connection: confirm_cancel(connection, hold, now=now_in(connection)))

    def _note(self, act: Callable[[Connection], T]) -> T:
        """As ``_write``, of what may be lost in a power cut."""
        return self._write(act, durable=False)

    def _write(self, act: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Return what a function makes of a writing transaction; when a server is away, it is done again.

        What was done twice because its confirmation was lost changes nothing the second time: every move names the
        state and the attempt that it leaves.
        """
        until = time.monotonic() + (0.0 if is_embedded(self._engine) else AWAY_S)
        while True:
            try:
                with writing(self._engine, durable=durable) as connection:
                    return act(connection)
            except AWAY:
                if self._stop.is_set() or time.monotonic() > until:
                    raise
                log.warning("the database cannot be reached and is asked again", exc_info=True)
                time.sleep(AGAIN_S)


def _left_s(job: Job) -> float:
    """Return how long a job may run from its start until its deadline, s."""
    return math.inf if job.deadline_at is None else job.deadline_at - (job.started_at or 0.0)


def _demand(held: bool) -> None:
    if not held:
        raise LeaseLost
