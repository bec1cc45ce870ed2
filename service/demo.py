"""The demo: a model for an example scenario, made by the real service over a real socket."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from service.errors import SettingInvalid
from service.report import print_limits, print_phases, print_scenario

SCENARIO: dict[str, Any] = {
    "task": {"kind": "classification", "classes": ["Sneaker", "Bag", "Coat", "Sandal", "Shirt"]},
    "supernet": "fashion",
    "device": "local",
    "name": "demo",
}
# Latency as a share of the dense net's, so that the example can be met on quick and slow machines alike.
LATENCY_SHARE = 0.5
LIMITS = {"memory_mb": 32, "size_mb": 1.0, "accuracy_min": 0.9}
READY_S = 60.0
WAIT_S = 30
SAMPLES = 8


def run_demo(data_dir: Path) -> int:
    """Start the service, post the example scenario, download and try the model; return the exit code."""
    console = Console()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--data-dir", str(data_dir)]
    # It listens to this machine for a minute, and the demo has no key.
    environment = {**os.environ, "NNF_AUTH": "off", "NNF_LOG": "text"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            url = _url_of(server)
            threading.Thread(target=_pass_on, args=(server,), daemon=True).start()
            console.print(f"The service listens on {url}; a first start measures this machine.")
            with httpx.Client(base_url=url, timeout=WAIT_S + 10) as client:
                return _make_a_model(client, data_dir, console)
        finally:
            server.terminate()


def _url_of(server: "subprocess.Popen[str]") -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if "listens on " in line:
            return line.rsplit(" ", 1)[1].strip()
        print(line, end="", file=sys.stderr)
    raise SettingInvalid("the service did not start")


def _pass_on(server: "subprocess.Popen[str]") -> None:
    """Show what the service says, progress lines without an end included."""
    assert server.stderr is not None
    while piece := server.stderr.read(1):
        print(piece, end="", file=sys.stderr, flush=True)


def _make_a_model(client: httpx.Client, data_dir: Path, console: Console) -> int:
    _wait_until_ready(client)
    scenario = _example(client)
    print_scenario(console, scenario)
    job = client.post("/models", json=scenario, headers={"Prefer": f"wait={WAIT_S}"}).json()
    if job.get("state") != "succeeded":
        console.print_json(data=job)
        return 1
    _print_phases(client, job, console)
    result = job["result"]
    print_limits(console, result["limits_check"], result["predicted"], result["measured"])
    (model,) = (one for one in result["artifacts"] if one["kind"] == "model")
    path = _download(client, model, data_dir / "downloads")
    console.print(f"Downloaded to {path}", soft_wrap=True)
    _classify_samples(path, console)
    return 0


def _example(client: httpx.Client) -> dict[str, Any]:
    """Return the example scenario with limits that suit this machine."""
    supernets = client.get("/supernets").raise_for_status().json()["supernets"]
    (dense,) = (each["dense"] for each in supernets if each["name"] == SCENARIO["supernet"])
    return {**SCENARIO, "limits": {"latency_ms": round(LATENCY_SHARE * dense["latency_ms"], 3), **LIMITS}}


def _print_phases(client: httpx.Client, job: dict[str, Any], console: Console) -> None:
    """Print the phases of the job that built the model: this one, or the one whose model was taken from the store."""
    if job["reused_from"]:
        console.print(f"An equal scenario was built before: this model is that of {job['reused_from']}.")
        job = client.get(f"/jobs/{job['reused_from']}").raise_for_status().json()
    print_phases(console, [(phase["name"], phase["duration_ms"]) for phase in job["phases"]])


def _wait_until_ready(client: httpx.Client) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError as error:
            raise SettingInvalid("the service ended before it was ready") from error
        time.sleep(0.2)
    raise SettingInvalid(f"the service was not ready within {READY_S:.0f} s")


def _download(client: httpx.Client, artifact: dict[str, Any], folder: Path) -> Path:
    answer = client.get(f"/artifacts/{artifact['id']}").raise_for_status()
    if hashlib.sha256(answer.content).hexdigest() != artifact["sha256"]:
        raise SettingInvalid("the downloaded file does not have the digest that the job names")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{artifact['id']}.{artifact['format']}"
    path.write_bytes(answer.content)
    return path


def _classify_samples(path: Path, console: Console) -> None:
    """Run the file with plain onnxruntime on images that the supernet was not trained on."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    names, supernet = json.loads(metadata["classes"]), json.loads(metadata["supernet"])["name"]
    folder = Path(str(resources.files("supernet"))) / "zoo" / supernet
    vocabulary = json.loads((folder / "card.json").read_text())["classes"]
    with np.load(folder / "images.npz") as archive:
        images, labels = archive["validation_images"], archive["validation_labels"]
    mine = [i for i, label in enumerate(labels) if vocabulary[label] in names][:SAMPLES]
    (scores,) = session.run(None, {"image": images[mine].astype(np.float32)})
    table = Table("Image", "Is", "Model says", "Score", title="Sample images", title_justify="left")
    for index, row in zip(mine, scores, strict=True):
        table.add_row(str(index), vocabulary[labels[index]], names[int(row.argmax())], f"{row.max():.3f}")
    console.print(table)
