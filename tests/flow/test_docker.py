"""The containers: what their files say holds, and the processes they start work together on real servers."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import compose
import httpx
import pytest
import yaml

from tests.servers import ObjectServer, Postgres, Redis, free_port

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
GPU_FILE = "docker-compose.gpu.yml"
FILES = ("docker-compose.yml", GPU_FILE)
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SCENARIO = {"task": {"kind": "classification", "classes": ["Bag", "Coat"]}, "limits": {"latency_ms": 2.0}}


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with what follows each."""
    text = re.sub(r"(?m)^\s*#.*\n", "", dockerfile.read_text()).replace("\\\n", " ")
    return [
        (line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()
    ]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_small_pinned_and_not_run_by_root(dockerfile: Path) -> None:
    found = instructions(dockerfile)
    names = [name for name, _ in found]
    (base,) = [value for name, value in found if name == "FROM"]
    assert re.fullmatch(r"python:3\.11[.\d]*-slim", base)
    assert names.count("USER") == names.count("HEALTHCHECK") == names.count("CMD") == 1
    assert names.index("USER") < names.index("CMD")
    (user,) = [value for name, value in found if name == "USER"]
    assert int(user) > 0
    for name, value in found:
        if name == "RUN":
            assert "pip install" not in value or "--no-cache-dir" in value
            assert "pip install" not in value or "--constraint constraints.txt" in value
        if name == "COPY":
            for source in value.split()[:-1]:
                assert (ROOT / source).exists()
                assert not ignored(source), f"{source} is left out of the build by .dockerignore"
        assert name not in ("ADD", "MAINTAINER")
        assert not (name in ("CMD", "ENTRYPOINT") and not value.startswith("["))


def ignored(source: str) -> bool:
    return f"!{source}" not in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_image_of_the_http_process_has_no_torch() -> None:
    runs = " ".join(
        value for name, value in instructions(ROOT / "docker" / "api.Dockerfile") if name == "RUN"
    )
    assert "torch" not in runs
    assert "worker" not in runs


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_linter_finds_nothing_in_a_dockerfile(dockerfile: Path) -> None:
    command = [Path(sys.executable).with_name("hadolint"), "--no-color", "--failure-threshold", "style"]
    found = subprocess.run([*command, dockerfile], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_can_send_traces_once_it_is_told_where(dockerfile: Path) -> None:
    assert re.search(r'pip install [^&]*"\.\[(\w+,)?telemetry\]"', dockerfile.read_text())


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_says_how_it_is_well_and_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    if "image" in service:
        assert re.fullmatch(r"[\w./-]+:\d+(\.\d+)+(-alpine)?", service["image"]), (
            "a version, not a moving tag"
        )
        assert service["healthcheck"]["test"][0] == "CMD"
    else:
        dockerfile = ROOT / service["build"]["dockerfile"]
        assert "HEALTHCHECK" in dict(instructions(dockerfile))
    assert "restart" in service
    for other, condition in service.get("depends_on", {}).items():
        once = other == "migrate"
        assert condition["condition"] == ("service_completed_successfully" if once else "service_healthy")
    for volume in service.get("volumes", []):
        # One is a file of the machine, where one is named.
        assert volume.startswith("${SIGNING_KEY:-/dev/null}:") or volume.split(":")[0] in COMPOSE["volumes"]


def test_no_password_has_a_value_that_everybody_knows() -> None:
    text = "".join((ROOT / name).read_text() for name in FILES)
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "STORE_KEY", "STORE_SECRET"):
        assert set(re.findall(rf"\$\{{{name}[^}}]*\}}", text)) == {f"${{{name}:?set it in .env}}"}
        assert re.search(rf"(?m)^{name}=$", (ROOT / "docker" / "example.env").read_text())
    asked = set(re.findall(r"\$\{(\w+)", text))
    offered = set(re.findall(r"(?m)^#?(\w+)=", (ROOT / "docker" / "example.env").read_text()))
    assert asked == offered


def test_every_setting_is_one_that_the_program_reads() -> None:
    known = (ROOT / "service" / "settings.py").read_text()
    named = {
        name for one in SERVICES.values() for name in one.get("environment", {}) if name.startswith("NNF_")
    }
    assert {"NNF_DATABASE_URL", "NNF_REDIS_URL", "NNF_STORE_URL", "NNF_AUTH"} <= named
    for name in named:
        assert f'"{name}"' in known


SECRETS = dict.fromkeys(("POSTGRES_PASSWORD", "REDIS_PASSWORD", "STORE_KEY", "STORE_SECRET"), "x")


def configured(*files: str, **environment: str) -> dict[str, Any]:
    """Return what compose makes of files: each setting as it will be, and no field that it does not know."""
    command: list[str | Path] = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*command, "version"], capture_output=True).returncode:
        command = [Path(compose.__file__).with_name("docker-compose")]
    named = [part for file in files for part in ("-f", ROOT / file)]
    known = {"PATH": os.environ["PATH"], **SECRETS, **environment}
    # No .env of whoever runs this has a say.
    found = subprocess.run(
        [*command, "--env-file", os.devnull, *named, "config", "--format", "json"],
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    services: dict[str, Any] = yaml.safe_load(found.stdout)["services"]
    return services


def test_the_file_is_one_that_compose_takes() -> None:
    assert configured(FILES[0]).keys() == SERVICES.keys()


def test_only_the_second_file_asks_for_a_gpu_and_changes_nothing_else() -> None:
    plain, on_gpu = configured(FILES[0]), configured(*FILES, GPU="1")
    assert "deploy" not in str(plain)
    (device,) = on_gpu["worker"].pop("deploy")["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["1"], "capabilities": ["gpu"]}
    assert on_gpu["worker"]["environment"].pop("NNF_TORCH_DEVICE") == "cuda"
    assert plain["worker"]["environment"].pop("NNF_TORCH_DEVICE") == "auto"
    assert on_gpu == plain
    assert f"-f {GPU_FILE} up" in (ROOT / "README.md").read_text()


def test_what_has_a_port_of_the_machine_is_not_said_to_be_run_twice() -> None:
    texts = [(ROOT / name).read_text() for name in ("README.md", "docker-compose.yml")]
    scaled = {name for text in texts for name in re.findall(r"--scale (\w+)=", text)}
    assert scaled
    assert not [name for name in scaled if "ports" in SERVICES[name]]


class Parts:
    """The services of the compose file as processes of this machine."""

    def __init__(self, folder: Path, servers: dict[str, str]) -> None:
        self._folder = folder
        self._servers = servers
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, data_dir: Path, port: int | None = None) -> subprocess.Popen[bytes]:
        """Start what a container of this service would run."""
        service = SERVICES[name]
        program, *arguments = [str(port) if one == "8000" and port else one for one in service["command"]]
        assert program == "nnfactory"
        # No default is used that could hide a setting which the file forgets.
        wanted = {key: self._servers.get(key, "") for key in service["environment"]}
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("NNF_", "AWS_"))
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *arguments],
                cwd=ROOT,
                env={**environment, **wanted, "NNF_DATA_DIR": str(data_dir)},
                stderr=log,
                stdout=log,
            )
        self.running.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in self._folder.glob("*.log"))

    def close(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def parts(folder: Path) -> Iterator[Parts]:
    servers = (Postgres(), Redis(), ObjectServer())
    postgres, redis, objects = servers
    found = None
    try:
        for server in servers:
            server.start()
        found = Parts(
            folder,
            {
                **objects.environment,
                "NNF_DATABASE_URL": postgres.url(),
                "NNF_REDIS_URL": redis.url,
                "NNF_STORE_URL": "s3://nnfactory/artifacts",
                "NNF_AUTH": "required",
                "NNF_TORCH_DEVICE": "cpu",
            },
        )
        yield found
    finally:
        if found is not None:
            found.close()
        for server in servers:
            server.remove()


def wait_ready(address: str, running: Parts, timeout_s: float = 120.0) -> None:
    until = time.monotonic() + timeout_s
    while True:
        try:
            answer = httpx.get(f"{address}/readyz", timeout=10)
            if answer.status_code == 200:
                return
            said = answer.text
        except httpx.HTTPError as error:
            said = str(error)
        assert time.monotonic() < until, f"{said}\n{running.logs()}"
        time.sleep(0.2)


def test_the_processes_of_the_containers_work_together_without_a_common_folder(
    tmp_path: Path, profiled: Path
) -> None:
    worker_dir = tmp_path / "worker"
    # This machine is measured already.
    shutil.copytree(profiled / "profiles", worker_dir / "profiles")
    with parts(tmp_path) as running:
        assert running.start("migrate", tmp_path / "migrate").wait(60) == 0, running.logs()
        ports = [free_port(), free_port()]
        addresses = [f"http://127.0.0.1:{port}" for port in ports]
        for number, port in enumerate(ports):
            running.start("api", tmp_path / f"api{number}", port)
        running.start("worker", worker_dir)
        for address in addresses:
            wait_ready(address, running)
        made = subprocess.run(
            [sys.executable, "-m", "service.cli", "keys", "create", "--tenant", "docks", "--json"],
            cwd=ROOT,
            env={**os.environ, "NNF_DATABASE_URL": running._servers["NNF_DATABASE_URL"]},
            capture_output=True,
            check=True,
        )
        secret = yaml.safe_load(made.stdout)["secret"]
        headers = {"Authorization": f"Bearer {secret}"}
        one, other = (httpx.Client(base_url=address, headers=headers, timeout=60) for address in addresses)
        with one, other:
            assert one.post("/models/check", json=SCENARIO).json()["feasible"]
            job = one.post("/models", json=SCENARIO, headers={"Prefer": "wait=30"}).json()
            assert job["state"] == "succeeded", f"{job}\n{running.logs()}"
            # Each process finds the job in the database and the files in the store.
            assert other.get(f"/jobs/{job['id']}").json()["state"] == "succeeded"
            for client in (one, other):
                for file in job["result"]["artifacts"]:
                    content = client.get(f"/artifacts/{file['id']}").content
                    assert hashlib.sha256(content).hexdigest() == file["sha256"]
                    part = client.get(f"/artifacts/{file['id']}", headers={"Range": "bytes=10-19"})
                    assert (part.status_code, part.content) == (206, content[10:20])
            twin = other.post("/models", json=SCENARIO, headers={"Prefer": "wait=30"}).json()
            assert twin["reused_from"] == job["id"]
        assert httpx.get(f"{addresses[0]}/jobs/{job['id']}").status_code == 401
