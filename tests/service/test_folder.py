import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import DataUnusable
from service.folder import held
from tests.service.process import ROOT

HOLDING = """
import sys
from pathlib import Path
from service.folder import held

with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_made_and_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "new" / "data"):
            pass


def test_nobody_else_gets_it_until_its_holder_is_gone_even_by_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DataUnusable, match="another `nnfactory serve` has it"), held(tmp_path):
            pass
        other.kill()
        other.wait()
        with held(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataUnusable, match="cannot be written"), held(tmp_path / "file" / "data"):
        pass
