"""What the user can mend ends a command with one sentence and a code; what nobody foresaw is not hidden."""

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from assembler.errors import MeasurementFailed, OrderInvalid, ProfileUnsaved
from service.errors import SettingInvalid
from service.outcome import ending, exit_code
from supernet.errors import DataInvalid


def failing(error: Exception) -> int:
    raise error


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_command_ends_with_the_code_it_returns(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: code) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataInvalid(Path("pets.zip"), "no images"), 2),
        (SettingInvalid("NNF_AUTH must be off"), 2),
        (ProfileUnsaved(Path("data"), "Permission denied"), 2),
        (OrderInvalid("channels", "must be 1 or 3"), 2),
        (MeasurementFailed("the model could not be measured"), 1),
    ],
)
def test_an_error_of_any_room_is_one_sentence_and_a_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: failing(error)) == code
    assert capsys.readouterr() == ("", f"nnfactory: {error}\n")


@pytest.mark.parametrize("error", [KeyError("x"), OSError(28, "No space left on device")])
def test_what_nobody_foresaw_is_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        exit_code(lambda: failing(error))
    assert caught.value is error


def test_a_function_becomes_a_command_with_its_own_arguments_and_help() -> None:
    app = typer.Typer()

    @app.command()
    @ending
    def end(code: int, more: Annotated[int, typer.Option(help="Added to it.")] = 0) -> int:
        """End with a code."""
        if code < 0:
            raise SettingInvalid("must not be negative")
        return code + more

    def invoked(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, arguments)
        return result.exit_code, result.stderr

    assert invoked("3") == (3, "")
    assert invoked("3", "--more", "4") == (7, "")
    assert invoked("--", "-1") == (2, "nnfactory: must not be negative\n")
    assert "End with a code." in CliRunner().invoke(app, ["--help"]).output
