"""What clients can do, and what they need. Their operations are tested in ``tests/service/calls``."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from service.client import ArgumentInvalid, AsyncClient, Client


def test_both_clients_can_do_the_same_and_take_the_same_arguments() -> None:
    def offered(kind: type) -> dict[str, str]:
        methods = {
            name: one for name, one in vars(kind).items() if inspect.isfunction(one) and name[0] != "_"
        }
        return {name: str(inspect.signature(one)) for name, one in methods.items()}

    assert offered(Client) == offered(AsyncClient)
    assert len(offered(Client)) > 25
    assert "setup" not in str(offered(Client))
    assert all(
        one.__doc__ and "setup:" not in one.__doc__
        for one in vars(Client).values()
        if inspect.isfunction(one)
    )


def test_a_client_needs_nothing_of_the_service_itself() -> None:
    heavy = {"torch", "fastapi", "starlette", "sqlalchemy", "onnxruntime", "numpy", "typer"}
    probe = f"import sys, service.client\nsys.exit(str({heavy} & set(sys.modules) or '') or 0)"
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://a b", "http://x?y", "http://u:pass@x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ArgumentInvalid, match="address") as refused:
        Client(url)
    assert "pass@" not in str(refused.value)


def test_a_key_that_is_none_is_refused_and_not_repeated() -> None:
    for key in ("", "sec ret", "secrät", "secret\r\nX: y"):
        with pytest.raises(ArgumentInvalid) as refused:
            Client("http://localhost", key)
        assert "sec" not in str(refused.value)
