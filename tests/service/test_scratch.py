"""What a killed process leaves behind is removed by the next one."""

import subprocess
import sys
from pathlib import Path

FILL = """
import os, sys, tempfile
from pathlib import Path
from service.scratch import use_scratch
use_scratch(Path(sys.argv[1]))
with tempfile.TemporaryDirectory(prefix="nnfactory-") as folder:
    (Path(folder) / "model.onnx").write_bytes(b"half")
    print(os.getpid(), flush=True)
    if len(sys.argv) > 2:
        os.kill(os.getpid(), 9)
"""


def run(*words: str) -> int:
    done = subprocess.run([sys.executable, "-c", FILL, *words], stdout=subprocess.PIPE, check=False)
    return int(done.stdout)


def test_files_of_a_killed_process_go_with_the_next_start(tmp_path: Path) -> None:
    pid = run(str(tmp_path), "die")
    assert list((tmp_path / "scratch" / str(pid)).rglob("model.onnx"))
    run(str(tmp_path))
    assert list((tmp_path / "scratch").iterdir()) == []
