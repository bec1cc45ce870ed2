import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.migrations import HEAD


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    probe = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from service.cli import app\n"
        "print(CliRunner().invoke(app, ['--help']).output)\n"
        "heavy = {'torch', 'fastapi', 'sqlalchemy', 'onnxruntime', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    listed = re.findall(r"^[\s│|]+([a-z]+) {2,}\S", ended.stdout, re.MULTILINE)
    commands = {
        "serve",
        "api",
        "worker",
        "migrate",
        "train",
        "look",
        "foretell",
        "measure",
        "generate",
        "demo",
    }
    assert set(listed) == commands | {"keys", "models", "jobs", "webhooks", "devices", "supernets"}


def test_migrate_makes_the_database(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["migrate", "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 0
    connection = sqlite3.connect(tmp_path / "data" / "nnfactory.db")
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    connection.close()


@pytest.mark.parametrize("command", ["worker", "migrate"])
def test_a_data_folder_that_cannot_be_made_is_one_sentence_and_exit_code_two(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, [command, "--data-dir", str(tmp_path / "file" / "x")])
    assert result.exit_code == 2
    assert result.stderr.startswith("nnfactory: data folder")
    assert result.stderr.count("\n") == 1


def test_a_setting_that_cannot_be_used_is_one_sentence_and_exit_code_two(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["migrate", "--data-dir", str(tmp_path)], env={"NNF_AUTH": "perhaps"})
    assert result.exit_code == 2
    assert result.stderr.startswith("nnfactory: NNF_AUTH must be off or required")
    assert result.stderr.count("\n") == 1
