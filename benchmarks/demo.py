"""Time the first minutes of a user: ``make demo`` in a fresh clone, the packages apart.

``python -m benchmarks.demo`` prints JSON: seconds of ``make setup``, most of which are the download of the packages,
and of ``make demo`` after it, on a machine that was never measured.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe_machine

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print the figures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        found = {
            "machine": describe_machine(),
            "setup_s": timed(clone, "setup"),
            "demo_s": timed(clone, "demo"),
        }
    print(json.dumps(found, indent=1))


def timed(clone: Path, target: str) -> float:
    """Return the seconds that a target of the Makefile takes.

    Raises:
        CalledProcessError: it fails.
    """
    began = time.monotonic()
    subprocess.run(["make", "-C", str(clone), target], check=True, stdout=subprocess.DEVNULL)
    return round(time.monotonic() - began, 1)


if __name__ == "__main__":
    main()
