"""Waiting for jobs to end: any number of clients, one look at the database every few milliseconds."""

import asyncio
from pathlib import Path

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from service.db import Watch, reading
from service.jobs import finished_ids

LOOK_S = 0.01


class Waiters:
    """Those who wait for a job's end; while there are none, nothing is looked at."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._news = False
        self._closed = False

    async def until_done(self, job_id: str, timeout_s: float) -> None:
        """Return when the job has ended, the time is over, or the service ends."""
        if timeout_s <= 0 or self._closed:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        self._news = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            await asyncio.wait([future], timeout=timeout_s)
        finally:
            self._forget(job_id, future)

    def close(self) -> None:
        """Let everyone go, now and from now on."""
        self._closed = True
        for job_id in list(self._waiting):
            self._tell(job_id)

    async def _look(self) -> None:
        watch = Watch(self._path)
        try:
            while self._waiting:
                if watch.changed() or self._news:
                    self._news = False
                    for job_id in await run_in_threadpool(self._finished, list(self._waiting)):
                        self._tell(job_id)
                await asyncio.sleep(LOOK_S)
        finally:
            watch.close()

    def _finished(self, job_ids: list[str]) -> list[str]:
        with reading(self._engine) as connection:
            return finished_ids(connection, job_ids)

    def _tell(self, job_id: str) -> None:
        for future in self._waiting.get(job_id, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self, job_id: str, future: asyncio.Future[None]) -> None:
        others = self._waiting[job_id]
        others.discard(future)
        if not others:
            del self._waiting[job_id]
