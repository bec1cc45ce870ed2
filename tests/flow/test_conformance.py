import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_two_thousand_requests_are_answered_as_the_service_describes_itself() -> None:
    command = [sys.executable, "-m", "tests.conformance", "--cases", "2000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
