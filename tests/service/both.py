"""Both clients, asked in the same way."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from service.client import AsyncClient, Client, Patience
from tests.service.rude import answer, serving

QUICK = Patience(total_s=5, base_s=0.01, cap_s=0.05)
Ask = Callable[..., Any]


def blocking(url: str, operation: str, *values: Any, **options: Any) -> Any:
    """Return the result of an operation, a list of all that an iterator yields."""
    patience, timeout_s, key = _taken(options)
    with Client(url, key, patience=patience, timeout_s=timeout_s) as client:
        found = getattr(client, operation)(*values, **options)
        return list(found) if inspect.isgenerator(found) else found


def awaited(url: str, operation: str, *values: Any, **options: Any) -> Any:
    """Return the same, with the asynchronous client."""
    patience, timeout_s, key = _taken(options)

    async def ask() -> Any:
        async with AsyncClient(url, key, patience=patience, timeout_s=timeout_s) as client:
            found = getattr(client, operation)(*values, **options)
            return [one async for one in found] if inspect.isasyncgen(found) else await found

    return asyncio.run(ask())


def _taken(options: dict[str, Any]) -> tuple[Patience, float, str | None]:
    return options.pop("patience", QUICK), options.pop("silence_s", 5.0), options.pop("key", None)


def asked_for(ask: Ask, operation: str, *values: Any) -> tuple[str, bytes, Any]:
    """Return method and address that an operation sends, the body, and what it returns for a small answer."""
    with serving(answer(body={"id": "it"})) as rude:
        found = ask(rude.url, operation, *values)
    (path,) = rude.paths
    return path, rude.asked[0].body, found


both = pytest.mark.parametrize("ask", [blocking, awaited])
