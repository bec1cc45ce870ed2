import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook

from service.db import file_url, open_engine, reading
from service.folder import held
from service.tables import jobs
from tests.service.making import body, write_member
from tests.service.process import ROOT, House, running, started, wait_until
from tests.service.receiver import receiving


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    return write_member(tmp_path / "zoo" / "clothes").parent


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def submit(house: House, name: str, wait_s: int = 0) -> dict[str, Any]:
    headers = {"prefer": f"wait={wait_s}"} if wait_s else {}
    response = house.client.post("/models", json=body(name=name, labels={"n": name}), headers=headers)
    assert response.status_code in (201, 202)
    found: dict[str, Any] = response.json()
    return found


def follow(house: House, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = house.client.get(f"/jobs/{job['id']}?wait=30").json()
    return found


def is_running(house: House, job: dict[str, Any]) -> bool:
    return bool(house.client.get(f"/jobs/{job['id']}").json()["phase"] == "assembling")


def test_supernets_that_are_left_out_are_named_at_the_start(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house:
        assert house.process.stderr is not None
        told = house.process.stderr.readline()
        names = [one["name"] for one in house.client.get("/supernets").json()["left_out"]]
        assert "cifar10" in names
        assert told.startswith(f"left out: {', '.join(names)}; ")


def test_a_job_is_done_and_everything_ends_in_order_on_a_signal(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house:
        house.wait_ready()
        job = submit(house, "quick", wait_s=20)
        assert (job["state"], job["attempt"]) == ("succeeded", 1)
        content = house.client.get(f"/artifacts/{job['result']['artifacts'][0]['id']}").content
        assert len(content) == job["result"]["artifacts"][0]["bytes"]
        workers = house.worker_pids()
        assert len(workers) == 1
        house.process.send_signal(signal.SIGTERM)
        assert house.process.wait(20) == 0
        assert house.worker_pids() == []


def test_a_webhook_hears_of_a_model_that_comes_and_goes_with_its_file(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house, receiving() as receiver:
        house.wait_ready()
        made = house.client.post("/webhooks", json={"url": receiver.url()}).json()
        job = submit(house, "quick", wait_s=20)
        sha256 = job["result"]["artifacts"][0]["sha256"]
        file = data_dir / "artifacts" / sha256[:2] / sha256
        wait_until(lambda: len(receiver.bodies) == 1)
        assert file.exists()
        assert house.client.delete(job["links"]["model"]).status_code == 204
        wait_until(lambda: len(receiver.bodies) == 2 and not file.exists())
        told = [
            Webhook(made["secret"]).verify(content, headers)
            for content, headers in zip(receiver.bodies, receiver.headers, strict=True)
        ]
        assert [one["type"] for one in told] == ["job.succeeded", "model.deleted"]
        assert told[0]["data"] == house.client.get(job["links"]["self"]).json()
        log = house.client.get(f"/webhooks/{made['id']}/deliveries").json()["deliveries"]
        assert {one["attempts"] for one in log} == {1}


def test_a_small_answer_does_not_wait_for_the_network(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            house.client.get("/healthz")
            took.append(time.perf_counter() - began)
        # A held back packet costs 40 ms every time; a busy machine costs some of them more.
        assert min(took) < 0.03


def test_a_client_that_waits_is_answered_when_the_service_ends(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house:
        house.wait_ready()
        job = submit(house, "slow")
        wait_until(lambda: is_running(house, job))
        ending = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -TERM {house.process.pid}"])
        assert follow(house, job)["done"] is False
        assert house.process.wait(20) == 0
        ending.wait()


def test_an_api_alone_lets_everyone_go_in_order_and_takes_nothing_new(
    data_dir: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNF_SUPERNETS", str(zoo))
    monkeypatch.setenv("NNF_DRAIN_S", "2")
    with (
        started(["service.cli", "api", "--port", "0", "--data-dir", str(data_dir)], data_dir) as house,
        ThreadPoolExecutor() as others,
        begun_post(house, "begun") as begun,
        # It never comes to its end, and must not hold the process up for ever.
        begun_post(house, "stalled"),
    ):
        job = submit(house, "first")
        polled = others.submit(follow, house, job)
        told = others.submit(lambda: house.client.get(f"{job['links']['self']}/events").text)
        time.sleep(0.3)
        assert not polled.done()
        assert not told.done()
        house.process.send_signal(signal.SIGTERM)
        wait_until(polled.done, timeout_s=5)
        refused = house.client.post("/models", json=body())
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        assert refused.headers["retry-after"] == "1"
        assert house.client.get("/readyz").json()["code"] == "draining"
        assert house.client.get(job["links"]["self"]).status_code == 200
        assert polled.result()["done"] is False
        # The stream ended as streams do: one that was cut would have raised.
        assert told.result().startswith("event: state")
        assert begun().startswith(b"HTTP/1.1 202 ")
        assert house.process.wait(10) == 0
    with reading(open_engine(file_url(data_dir / "nnfactory.db"))) as connection:
        kept = [one["name"] for one in connection.scalars(select(jobs.c.scenario).order_by(jobs.c.id))]
    assert kept == ["first", "begun"]


@contextmanager
def begun_post(house: House, name: str) -> Iterator[Callable[[], bytes]]:
    """Send the first half of a request; what is yielded sends the rest and returns the answer."""
    content = json.dumps(body(name=name)).encode()
    url = house.client.base_url
    head = f"POST /models HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((url.host, url.port or 80), timeout=20) as line:
        line.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[:9])

        def go_on() -> bytes:
            line.sendall(content[9:])
            return line.makefile("rb").read()

        yield go_on


def test_keys_are_made_beside_a_running_service_and_revoked_within_a_second(
    data_dir: Path, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNF_AUTH", "required")
    with running(data_dir, zoo) as house:
        house.wait_ready()
        said = command("keys", "create", "--tenant", "acme", "--json", "--data-dir", str(data_dir))
        made = json.loads(said.stdout)
        assert house.client.get("/jobs").status_code == 401
        # Nothing of a large body is taken, and the answer comes all the same.
        assert house.client.post("/models/batch", content=b" " * 4_000_000).status_code == 401
        house.client.headers["Authorization"] = f"Bearer {made['secret']}"
        job = submit(house, "quick", wait_s=20)
        assert job["state"] == "succeeded"
        assert house.client.get(f"/artifacts/{job['result']['artifacts'][0]['id']}").status_code == 200
        command("keys", "revoke", made["id"], "--data-dir", str(data_dir))
        time.sleep(1.0)
        assert house.client.get("/jobs").status_code == 401
        house.process.send_signal(signal.SIGTERM)
        assert house.process.wait(20) == 0
    listed = json.loads(command("keys", "list", "--json", "--data-dir", str(data_dir)).stdout)
    assert listed[0]["last_used_at"] is not None


def test_jobs_survive_the_death_of_everything(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house:
        house.wait_ready()
        job, waiting = submit(house, "slow"), submit(house, "waiting")
        wait_until(lambda: is_running(house, job))
        house.kill_everything()
    with running(data_dir, zoo) as house:
        ended, other = follow(house, job), follow(house, waiting)
        assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
        assert other["state"] == "succeeded"
        assert house.client.get(f"/artifacts/{ended['result']['artifacts'][0]['id']}").status_code == 200


def test_a_killed_worker_is_replaced_and_its_job_finished_while_the_service_answers(
    data_dir: Path, zoo: Path
) -> None:
    with running(data_dir, zoo) as house:
        house.wait_ready()
        job = submit(house, "slow")
        wait_until(lambda: is_running(house, job))
        (worker,) = house.worker_pids()
        os.kill(worker, signal.SIGKILL)
        assert house.client.get("/healthz").status_code == 200
        ended = follow(house, job)
        assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
        assert house.worker_pids() != [worker]


def test_a_scenario_that_crashes_its_worker_three_times_ends_poisoned_and_others_go_on(
    data_dir: Path, zoo: Path
) -> None:
    with running(data_dir, zoo) as house:
        poison = submit(house, "crash")
        ended = follow(house, poison)
        assert (ended["state"], ended["error"]["code"], ended["attempt"]) == ("failed", "poisoned", 3)
        assert submit(house, "quick", wait_s=30)["state"] == "succeeded"


def test_a_worker_does_not_outlive_its_service(data_dir: Path, zoo: Path) -> None:
    with running(data_dir, zoo) as house:
        house.wait_ready()
        house.process.kill()
        house.process.wait()
        wait_until(lambda: house.worker_pids() == [], timeout_s=10)


def test_a_worker_that_can_never_work_ends_the_service_with_one_sentence(data_dir: Path, zoo: Path) -> None:
    data_dir.mkdir()
    (data_dir / "unusable").touch()
    with running(data_dir, zoo) as house:
        assert house.process.wait(30) == 2
        assert house.process.stderr is not None
        said = house.process.stderr.read()
        assert "its weights are not there" in said
        assert "Traceback" not in said


def command(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *words],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_damaged_checkpoint_stops_the_start_with_one_sentence(data_dir: Path, zoo: Path) -> None:
    (zoo / "clothes" / "weights.safetensors").write_bytes(b"torn")
    ended = command("serve", "--port", "0", "--data-dir", str(data_dir), NNF_SUPERNETS=str(zoo))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "is damaged: weights.safetensors does not match" in ended.stderr


def test_a_damaged_profile_stops_the_start_with_one_sentence(data_dir: Path, zoo: Path) -> None:
    from assembler.device import profile_path
    from supernet.card import load_card

    path = profile_path(data_dir, "local", load_card(zoo / "clothes").digest)
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    ended = command("serve", "--port", "0", "--data-dir", str(data_dir), NNF_SUPERNETS=str(zoo))
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "profile" in ended.stderr
    assert "is damaged" in ended.stderr


def test_a_data_folder_that_another_service_has_is_refused_with_one_sentence(data_dir: Path) -> None:
    with held(data_dir):
        ended = command("serve", "--port", "0", "--data-dir", str(data_dir))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "another `nnfactory serve` has it" in ended.stderr


def test_an_open_host_is_refused_with_one_sentence(data_dir: Path) -> None:
    ended = command("api", "--host", "0.0.0.0", "--data-dir", str(data_dir))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "NNF_AUTH=off" in ended.stderr


def test_a_port_that_is_taken_is_refused_with_one_sentence(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("api", "--port", str(port), "--data-dir", str(data_dir))
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "cannot listen" in ended.stderr
