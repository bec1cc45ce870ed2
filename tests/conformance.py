"""Whether the service keeps to its own description: schemathesis asks a real server all that ``/openapi.json`` offers.

``python -m tests.conformance [--cases 20000] [--seed 1]`` asks at least so many times, prints what schemathesis says,
and ends with its exit code. Models are made by a plain function, everything else is the service itself.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "tests" / "conformance.toml"
# A run with keys to revoke would soon have none left: those routes are asked for by themselves, out of order.
OF_KEYS = "^/(keys|audit)"
# About so many cases a phase has for each example of an operation, and whatever their number.
EACH, ONCE = 32, 1600


def main() -> int:
    """Ask, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address:
        asked, code, seed = 0, 0, options.seed
        while asked < options.cases and not code:
            for keys in (False, True):
                ended, text = ask(Path(folder), address, options.cases - asked, seed, keys=keys)
                print(text)
                asked, code = asked + cases(text), code or ended
            seed += 1
    print(f"{asked} cases, exit code {code}")
    return int(code)


def ask(folder: Path, address: str, count: int, seed: int, *, keys: bool) -> tuple[int, str]:
    """Return the exit code of schemathesis, and what it says.

    Args:
        folder: the service's data folder.
        address: of the service.
        count: about so many cases are asked for, keys aside.
        seed: of its choices.
        keys: whether the routes of keys are asked for, or all others.
    """
    scopes = ["operator"] if keys else ["read", "write", "metrics"]
    some = (
        ["--include-path-regex", OF_KEYS, "--phases", "examples,coverage,fuzzing"]
        if keys
        else ["--exclude-path-regex", OF_KEYS]
    )
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(CONFIG),
        "run",
        f"{address}/openapi.json",
    ]
    options = [
        "--header",
        f"Authorization: Bearer {new_key(folder, scopes)}",
        "--checks",
        "all",
        "--no-color",
    ]
    more = [
        "--max-examples",
        str(max(1, (count - ONCE) // EACH)),
        "--seed",
        str(seed),
        "--continue-on-failure",
    ]
    done = subprocess.run(
        [*command, *options, *some, *more, "--generation-database", "none"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def cases(text: str) -> int:
    """Return how many cases schemathesis says it made."""
    found = re.search(r"(\d+) generated", text)
    return int(found[1]) if found else 0


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the service with keys required; yield its address."""
    (folder / "zoo").mkdir()
    command = [sys.executable, "-m", "tests.service.child", "serve", str(folder), str(folder / "zoo")]
    # What it says goes into a file: nobody would read a pipe, and a full one stops who writes.
    with (folder / "log").open("w+") as log:
        environment = {**os.environ, "NNF_AUTH": "required"}
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=environment)
        try:
            yield _ready(folder / "log")
        finally:
            process.terminate()
            process.wait(30)


def _ready(log: Path) -> str:
    until = time.monotonic() + 60
    while True:
        found = re.search(r"http://\S+", log.read_text())
        if found and httpx.get(f"{found.group()}/readyz").status_code == 200:
            return found.group()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


def new_key(folder: Path, scopes: Sequence[str]) -> str:
    """Return the secret of a new key."""
    asked = [word for scope in scopes for word in ("--scope", scope)]
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "keys", "create", "--tenant", "docks", *asked, "--json"],
        cwd=ROOT,
        env={**os.environ, "NNF_DATA_DIR": str(folder)},
        capture_output=True,
        check=True,
    )
    secret: str = json.loads(done.stdout)["secret"]
    return secret


if __name__ == "__main__":
    sys.exit(main())
