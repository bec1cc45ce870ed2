import io
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.testclient import TestClient
from rich.console import Console

from service import demo
from service.worker import Worker
from tests.service.making import BODY


def test_the_phases_of_a_model_from_the_store_are_those_of_the_job_that_built_it(
    app: FastAPI, worker_with: Callable[[], Worker]
) -> None:
    client, worker = TestClient(app), worker_with()
    said = []
    for name in ("first", "second"):
        posted = client.post("/models", json={**BODY, "name": name})
        worker.work_once()
        job = client.get(posted.headers["location"]).json()
        assert job["state"] == "succeeded"
        console = Console(file=io.StringIO(), width=200)
        demo._print_phases(client, job, console)
        assert isinstance(console.file, io.StringIO)
        said.append(console.file.getvalue())
        for phase in ("assembling", "compiling", "storing"):
            assert phase in said[-1]
    first = client.get("/jobs").json()["jobs"][-1]
    assert "built before" not in said[0]
    assert said[1] == f"An equal scenario was built before: this model is that of {first['id']}.\n{said[0]}"
