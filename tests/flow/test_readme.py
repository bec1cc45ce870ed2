"""What the README tells users to do is done, word for word, in less time and on few images."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.process import House, wait_until

ROOT = Path(__file__).parents[2]
COLOURS = {"apple": (200, 30, 30), "pear": (180, 200, 60), "plum": (90, 30, 110)}


def blocks(heading: str, language: str = "sh") -> list[str]:
    """Return the commands under a heading of the README, one block after the other."""
    section = re.split(rf"^##+ {heading}\n", (ROOT / "README.md").read_text(), flags=re.MULTILINE)[1]
    return re.findall(
        rf"```{language}\n(.*?)```", re.split(r"^#+ ", section, flags=re.MULTILINE)[0], re.DOTALL
    )


@pytest.fixture
def fruit(tmp_path: Path) -> Path:
    """A folder with a program where the README has it, and photographs of fruit."""
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            image = np.clip(np.array(colour) + draw.normal(0, 40, (96, 128, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "photos" / name / f"{number}.jpg")
    write_program(tmp_path)
    return tmp_path


def write_program(folder: Path) -> None:
    """Write the program where the README has it."""
    program = folder / ".venv" / "bin" / "nnfactory"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m service.cli "$@"\n')
    program.chmod(0o755)


@contextmanager
def serving(command: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a command that serves; yield the address that it says."""
    process = subprocess.Popen(
        ["sh", "-c", f"exec env {command}"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        said = ""
        while (found := re.search(r"http://\S+", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield found.group()
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def test_own_classes_are_trained_served_and_asked_for(fruit: Path, profiled: Path) -> None:
    train, serve, ask = blocks("Your own classes in ten minutes")
    # The shipped supernets are measured already; that of this test is measured here.
    shutil.copytree(profiled / "profiles", fruit / "nnfactory-data" / "profiles")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command], cwd=fruit, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run(train.replace("--minutes 10", "--minutes 1"))
    assert "3 classes, 36 usable images" in said
    assert (fruit / "zoo" / "photos" / "look.html").exists()
    with serving(serve.replace("serve", "serve --port 0"), fruit, environment) as address:
        wait_until(lambda: httpx.get(f"{address}/readyz").status_code == 200, 120)
        job = json.loads(run(ask.replace("localhost:8000", address)))
    assert job["state"] == "succeeded", job
    assert job["result"]["limits_met"]
    assert job["result"]["measured"]["latency_ms"] <= 5


def test_a_model_comes_from_python_as_the_readme_says(house: House, tmp_path: Path) -> None:
    (snippet,) = blocks("From Python and the shell", "python")
    url = str(house.client.base_url)
    assert "http://127.0.0.1:8000" in snippet
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", snippet.replace("http://127.0.0.1:8000", url)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model.onnx latency_ms=")
    assert (tmp_path / "model.onnx").stat().st_size <= 500_000


def test_a_model_comes_from_the_shell_as_the_readme_says(house: House, tmp_path: Path) -> None:
    (script,) = blocks("From Python and the shell")
    write_program(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NNF_URL": str(house.client.base_url)}
    said = []
    for line in script.splitlines():
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        said.append(done.stdout)
    assert "can be met" in said[0]
    assert "succeeded" in said[1]
    assert (tmp_path / "model.onnx").exists()
    (job,) = json.loads(said[2])
    assert job["state"] == "succeeded"
