import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from assembler.artifact import Assembly, Diagnosis, Predicted
from assembler.device import save_profile
from assembler.errors import Infeasible
from assembler.phase import Phase
from assembler.scenario import MAX_LABELS, Scenario
from service.app import create_app
from service.backlog import STALE_S
from service.house import House
from service.worker import Worker
from tests.servers import ON_BOTH_DATABASES
from tests.service.making import BODY, Building, ask, body, build_both, make_assembly, make_profile

pytestmark = ON_BOTH_DATABASES

Make = Callable[..., Worker]


def submit(app: FastAPI, headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
    return ask(app, "POST", "/models", json=body(**changes), headers=headers or {})


def test_a_scenario_is_accepted_as_a_queued_job(app: FastAPI) -> None:
    response = submit(app, name="dock 3")
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert int(response.headers["retry-after"]) >= 1
    assert "preference-applied" not in response.headers
    assert (job["state"], job["done"], job["attempt"], job["progress"]) == ("queued", False, 0, 0.0)
    assert job["queue"]["position"] == 0
    assert job["queue"]["eta_s"] > 0
    assert job["scenario"]["name"] == "dock 3"
    assert job["scenario"]["limits"]["latency_percentile"] == 50
    assert job["created_at"].endswith("Z")
    assert {
        job[name] for name in ("started_at", "finished_at", "result", "error", "phase", "reused_from")
    } == {None}


def test_a_submit_says_that_it_waits_for_the_refining_of_others_but_not_for_what_is_made_already(
    app: FastAPI, house: House, worker_with: Make
) -> None:
    (member,) = house.catalog.members
    save_profile(make_profile(member.card), house.settings.data_dir)
    refined = submit(app, refine={"seconds": 20})
    assert refined.json()["queue"]["eta_s"] > 20
    assert int(refined.headers["retry-after"]) > 20
    assert submit(app, name="plain").json()["queue"]["eta_s"] > 20
    worker = worker_with(Building(digest=lambda one: house.catalog.digest(one, member.card) or ""))
    while worker.work_once():
        pass
    house.backlog.counted_at = float("-inf")
    assert submit(app, refine={"seconds": 20}, name="again").json()["queue"]["eta_s"] < 20


def test_a_job_leads_to_its_model_and_file(app: FastAPI, worker_with: Make) -> None:
    posted = submit(app, name="dock 3").json()
    assert ask(app, "GET", posted["links"]["model"]).status_code == 404
    worker_with().work_once()
    job = ask(app, "GET", posted["links"]["self"]).json()
    assert (job["state"], job["done"], job["progress"], job["error"]) == ("succeeded", True, 1.0, None)
    assert [phase["state"] for phase in job["phases"]] == ["succeeded"] * 3
    assert job["queue"] is None
    model = ask(app, "GET", job["links"]["model"]).json()
    assert (model["id"], model["job_id"], model["name"]) == (job["model_id"], job["id"], "dock 3")
    assert model["artifacts"] == job["result"]["artifacts"]
    assert model["limits_check"] == job["result"]["limits_check"]
    assert model["scenario_digest"] == job["scenario_digest"]
    assert ask(app, "GET", "/models").json()["models"] == [model]


def test_a_model_leads_to_its_file_and_its_bundle(app: FastAPI, worker_with: Make) -> None:
    for building, kinds in ((Building(build_both), ["model", "bundle"]), (Building(), ["model"])):
        posted = submit(app, limits={"latency_ms": 1 + len(kinds)}).json()
        worker_with(building).work_once()
        model = ask(app, "GET", posted["links"]["model"]).json()
        files = {one["kind"]: f"/artifacts/{one['id']}" for one in model["artifacts"]}
        assert list(files) == kinds
        assert model["links"]["artifact"] == files["model"]
        assert model["links"]["manifest"] == f"{files['model']}/manifest"
        assert model["links"].get("bundle") == files.get("bundle")


def test_a_job_that_is_done_has_no_retry_after(app: FastAPI, worker_with: Make) -> None:
    path = submit(app).headers["location"]
    assert "retry-after" in ask(app, "GET", path).headers
    worker_with().work_once()
    assert "retry-after" not in ask(app, "GET", path).headers


def test_a_failed_job_carries_the_problem_with_its_diagnosis(app: FastAPI, worker_with: Make) -> None:
    figures = Predicted(latency_ms=0.1, memory_mb=1, size_mb=0.1, accuracy=0.5)
    diagnosis = Diagnosis(feasible=False, binding=("latency_ms",), best_possible=figures, nearest=())

    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        raise Infeasible(diagnosis)
        yield

    posted = submit(app)
    worker_with(Building(build)).work_once()
    job = ask(app, "GET", posted.headers["location"]).json()
    assert (job["state"], job["done"], job["result"]) == ("failed", True, None)
    error = job["error"]
    assert (error["code"], error["fault"], error["status"]) == ("scenario-infeasible", "user", 422)
    assert error["diagnosis"] == diagnosis.model_dump(mode="json")
    assert error["request_id"] == posted.headers["x-request-id"]
    assert ask(app, "GET", job["links"]["model"]).status_code == 404


def test_a_model_has_an_entity_tag(app: FastAPI, worker_with: Make) -> None:
    path = submit(app).json()["links"]["model"]
    worker_with().work_once()
    first = ask(app, "GET", path)
    assert first.headers["etag"].startswith('"')
    again = ask(app, "GET", path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])


def working(worker: Worker) -> threading.Thread:
    thread = threading.Thread(target=worker.run)
    thread.start()
    return thread


def build_slowly(_: Scenario) -> Iterator[Phase | Assembly]:
    time.sleep(0.3)
    yield make_assembly(b"onnx")


def test_a_client_that_prefers_to_wait_gets_the_ended_job(app: FastAPI, worker_with: Make) -> None:
    worker = worker_with(Building(build_slowly))
    thread = working(worker)
    try:
        response = submit(app, {"prefer": "wait=20"})
    finally:
        worker.stop()
        thread.join(5)
    assert response.status_code == 201
    assert response.headers["preference-applied"] == "wait=20"
    assert response.json()["state"] == "succeeded"
    assert response.headers["location"] == f"/jobs/{response.json()['id']}"
    assert "retry-after" not in response.headers


def test_a_queued_job_is_cancelled_and_a_second_time_nothing_happens(app: FastAPI, worker_with: Make) -> None:
    job = submit(app).json()
    first = ask(app, "POST", job["links"]["cancel"])
    assert (first.status_code, first.json()["state"], first.json()["done"]) == (202, "cancelled", True)
    second = ask(app, "POST", job["links"]["cancel"])
    assert (second.status_code, second.json()) == (200, first.json())
    assert not worker_with().work_once()
    assert ask(app, "GET", job["links"]["model"]).status_code == 404


def test_a_running_job_is_cancelled_while_it_runs(app: FastAPI, worker_with: Make) -> None:
    job = submit(app).json()
    answers = []

    def build(_: Scenario) -> Iterator[Phase | Assembly]:
        yield Phase("one")
        answers.append(ask(app, "POST", job["links"]["cancel"]))
        yield Phase("two")

    worker_with(Building(build)).work_once()
    (answer,) = answers
    assert (answer.status_code, answer.json()["state"], answer.json()["done"]) == (202, "cancelling", False)
    assert "retry-after" in answer.headers
    ended = ask(app, "GET", job["links"]["self"]).json()
    assert (ended["state"], ended["result"], ended["error"]) == ("cancelled", None, None)


def test_a_job_that_has_ended_cannot_be_cancelled(app: FastAPI, worker_with: Make) -> None:
    job = submit(app).json()
    worker_with().work_once()
    response = ask(app, "POST", job["links"]["cancel"])
    assert (response.status_code, response.json()["code"]) == (409, "job-already-finished")
    assert ask(app, "GET", job["links"]["self"]).json()["state"] == "succeeded"
    unknown = ask(app, "POST", f"/jobs/{job['id'][:-1]}{'a' if job['id'][-1] != 'a' else 'b'}/cancel")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


def test_a_client_that_preferred_to_wait_in_vain_gets_the_job_as_it_stands(app: FastAPI) -> None:
    started = time.perf_counter()
    response = submit(app, {"prefer": "wait=0.2"})
    assert time.perf_counter() - started >= 0.2
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert response.headers["preference-applied"] == "wait=0.2"


def test_reading_a_job_can_wait_for_its_end(app: FastAPI, worker_with: Make) -> None:
    path = submit(app).headers["location"]
    worker = worker_with(Building(build_slowly))
    thread = working(worker)
    try:
        assert ask(app, "GET", f"{path}?wait=20").json()["state"] == "succeeded"
    finally:
        worker.stop()
        thread.join(5)
    started = time.perf_counter()
    assert ask(app, "GET", f"{path}?wait=20").json()["done"]
    assert time.perf_counter() - started < 5


def test_jobs_are_listed_in_pages_with_counts(app: FastAPI, worker_with: Make) -> None:
    for number in range(5):
        submit(app, limits={"size_mb": 1 + number})
        time.sleep(0.002)
    worker_with().work_once()
    # Places may be so old.
    time.sleep(STALE_S)
    first = ask(app, "GET", "/jobs?page_size=2").json()
    assert first["counts"]["queued"] == 4
    assert first["counts"]["succeeded"] == 1
    assert first["counts"]["failed"] == 0
    seen = first["jobs"]
    page = first
    while page["next_page_token"]:
        page = ask(app, "GET", f"/jobs?page_size=2&page_token={page['next_page_token']}").json()
        seen = seen + page["jobs"]
    assert [job["scenario"]["limits"]["size_mb"] for job in seen] == [5, 4, 3, 2, 1]
    assert [job["queue"] and job["queue"]["position"] for job in seen] == [3, 2, 1, 0, None]
    queued = ask(app, "GET", "/jobs?state=queued").json()
    assert [job["state"] for job in queued["jobs"]] == ["queued"] * 4


def names(app: FastAPI, query: str) -> list[str]:
    response = ask(app, "GET", f"/jobs?{query}")
    assert response.status_code == 200, response.text
    return [job["scenario"]["name"] for job in response.json()["jobs"]]


def test_jobs_are_filtered_by_device_label_and_time(app: FastAPI) -> None:
    first = submit(app, name="a", labels={"site": "delft", "rack": "1"}).json()
    time.sleep(0.002)
    submit(app, name="b", labels={"site": "ghent"})
    assert sorted(names(app, "device=local")) == ["a", "b"]
    assert names(app, "device=another") == []
    assert (
        names(app, "label=site:delft")
        == names(app, "label=site%3Ddelft")
        == names(app, "label=rack")
        == ["a"]
    )
    assert names(app, "label=site&label=rack:1") == ["a"]
    assert names(app, "label=site:ghent&label=rack") == []
    assert names(app, f"created_after={first['created_at']}") == ["b"]
    assert sorted(names(app, "created_after=2001-01-01T00:00:00Z&label=site&state=queued")) == ["a", "b"]
    assert names(app, "created_after=2999-01-01T00:00:00Z") == []


def test_a_filter_goes_on_over_pages(app: FastAPI) -> None:
    for number in range(4):
        submit(app, name=str(number), labels={"odd": str(number % 2)})
        time.sleep(0.002)
    first = ask(app, "GET", "/jobs?label=odd:1&page_size=1").json()
    assert [job["scenario"]["name"] for job in first["jobs"]] == ["3"]
    assert names(app, f"label=odd:1&page_size=1&page_token={first['next_page_token']}") == ["1"]


@pytest.mark.parametrize(
    "query",
    [
        "device=",
        "device=Local%00",
        "label=",
        "label=:x",
        "label=%3Dx",
        "label=a:%00",
        "label=a%22b:c",
        "label=a&label=",
        "&".join(["label=a"] * (MAX_LABELS + 1)),
        "&".join(["label=a"] * 1100),
        "created_after=",
        "created_after=yesterday",
        "created_after=2026-01-31",
        "created_after=2026-01-31T12:00:00",
        "created_after=2026-01-31T12:00:00%2B02:00",
        "created_after=2026-02-31T12:00:00Z",
        "created_after=1700000000",
    ],
)
def test_a_filter_that_cannot_be_used_is_refused(app: FastAPI, query: str) -> None:
    response = ask(app, "GET", f"/jobs?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "bad-query")
    assert response.json()["errors"][0]["pointer"] == f"/{query.split('=')[0]}"


def test_as_many_labels_may_be_asked_for_as_a_scenario_holds(app: FastAPI) -> None:
    labels = {f"key{number}": "x" for number in range(MAX_LABELS)}
    submit(app, name="a", labels=labels)
    submit(app, name="b", labels={"key0": "x"})
    assert names(app, "&".join(f"label={key}:x" for key in labels)) == ["a"]


@pytest.mark.parametrize("one", ["state=queued", "device=local", "label=a", "page_size=5", "other=x"])
def test_a_parameter_that_stands_a_thousand_times_is_refused(app: FastAPI, one: str) -> None:
    refused = ask(app, "GET", "/jobs?" + "&".join([one] * 1100))
    assert (refused.status_code, refused.json()["code"]) == (400, "bad-query")


def test_models_are_listed_in_pages(app: FastAPI, worker_with: Make) -> None:
    worker = worker_with()
    for number in range(3):
        submit(app, limits={"size_mb": 1 + number})
        time.sleep(0.002)
        worker.work_once()
    first = ask(app, "GET", "/models?page_size=2").json()
    last = ask(app, "GET", f"/models?page_size=2&page_token={first['next_page_token']}").json()
    found = [model["scenario"]["limits"]["size_mb"] for model in first["models"] + last["models"]]
    assert (found, last["next_page_token"]) == ([3, 2, 1], None)


def test_a_full_queue_takes_no_more(house: House) -> None:
    small = replace(house, settings=replace(house.settings, queue_limit=2))
    app = create_app(small)
    submit(app)
    submit(app)
    response = submit(app)
    assert (response.status_code, response.json()["code"]) == (503, "queue-full")
    assert int(response.headers["retry-after"]) > 0
    assert ask(app, "GET", "/jobs").json()["counts"]["queued"] == 2


def test_a_hundred_clients_at_once_are_all_answered(app: FastAPI) -> None:
    async def storm() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            return await asyncio.gather(*(client.post("/models", json=BODY) for _ in range(100)))

    responses = asyncio.run(storm())
    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 100


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/jobs?lable=site:x", 'did you mean "label"'),
        ("/jobs?State=failed", 'did you mean "state"'),
        ("/models?label=site:x", "known: page_size, page_token"),
        ("/tasks?secret=x", ""),
        ("/jobs?state=queued&state=failed", "must be given once"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused_instead_of_left_out(
    app: FastAPI, path: str, hint: str
) -> None:
    refused = ask(app, "GET", path)
    assert (refused.status_code, refused.json()["code"]) == (400, "bad-query")
    assert hint in refused.json()["detail"]
    assert "secret" not in refused.text


def test_a_parameter_that_is_a_list_may_be_given_again(app: FastAPI) -> None:
    assert ask(app, "GET", "/jobs?label=site:x&label=line:2").status_code == 200


def test_nothing_is_made_of_a_request_with_an_unknown_parameter(app: FastAPI, house: House) -> None:
    assert ask(app, "POST", "/models?dry_run=true", json=BODY).status_code == 400
    assert ask(app, "GET", "/jobs").json()["jobs"] == []
