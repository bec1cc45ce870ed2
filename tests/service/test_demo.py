import io
from collections.abc import Callable

import httpx
from fastapi import FastAPI
from rich.console import Console

from service import demo
from service.worker import Worker
from tests.service.making import BODY, ask


def client_of(app: FastAPI) -> httpx.Client:
    def send(request: httpx.Request) -> httpx.Response:
        answer = ask(app, request.method, request.url.path, content=request.content)
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)

    return httpx.Client(transport=httpx.MockTransport(send), base_url="http://house")


def test_the_phases_of_a_model_from_the_store_are_those_of_the_job_that_built_it(
    app: FastAPI, worker_with: Callable[[], Worker]
) -> None:
    worker, said, ids = worker_with(), [], []
    with client_of(app) as client:
        for name in ("first", "second"):
            posted = client.post("/models", json={**BODY, "name": name})
            worker.work_once()
            job = client.get(posted.headers["location"]).json()
            assert job["state"] == "succeeded"
            file = io.StringIO()
            demo._print_phases(client, job, Console(file=file, width=200))
            said.append(file.getvalue())
            ids.append(job["id"])
    for phase in ("assembling", "compiling", "storing"):
        assert phase in said[0]
    assert said[1] == f"An equal scenario was built before: this model is that of {ids[0]}.\n{said[0]}"
