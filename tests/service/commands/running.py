"""Commands run in this process."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from service.cli import app

OPTIONS = ("--classes", "bag, coat", "--latency-ms", "1.5", "--size-mb", "1")


def run(url: str, *arguments: str, sent: bytes | None = None) -> Result:
    """Run a command that asks the service at an address."""
    environment = {"NNF_URL": url, "NNF_KEY": "", "COLUMNS": "100", "NO_COLOR": "1"}
    return CliRunner().invoke(app, list(arguments), env=environment, input=sent)


def parsed(result: Result) -> Any:
    """Return the JSON that a command printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
