"""The clients: ``Client`` blocks, ``AsyncClient`` is awaited. What they can do stands in ``service/calls``.

Neither loads torch or the service itself: they need httpx and pydantic alone.
"""

import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from importlib.metadata import version
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from service.calls import access, downloads, events, jobs, models, offers
from service.calls.answers import exact
from service.calls.drivers import AwaitedDriver, BlockingDriver
from service.calls.errors import (
    AnswerInvalid,
    ArgumentInvalid,
    ClientError,
    DigestMismatch,
    DownloadBusy,
    DownloadError,
    JobFailed,
    ProblemError,
    SignatureInvalid,
    TimedOut,
    Unreachable,
)
from service.calls.events import Event
from service.calls.models import Made, artifact_of
from service.calls.patience import Patience
from service.calls.steps import Flow, Setup, Stream

__all__ = [
    "AnswerInvalid",
    "ArgumentInvalid",
    "AsyncClient",
    "Client",
    "ClientError",
    "DigestMismatch",
    "DownloadBusy",
    "DownloadError",
    "Event",
    "JobFailed",
    "Made",
    "Patience",
    "ProblemError",
    "SignatureInvalid",
    "TimedOut",
    "Unreachable",
    "artifact_of",
    "exact",
]

P = ParamSpec("P")
T = TypeVar("T")
URL = "http://127.0.0.1:8000"
TIMEOUT_S = 30.0
_KEY = re.compile(r"[!-~]+")


def _like(method: Callable[P, T], flow: Callable[..., Any]) -> Callable[P, T]:
    """Give a method the name, the words and the signature of its operation."""
    functools.update_wrapper(method, flow)
    method.__doc__ = (flow.__doc__ or "").replace("        setup: of the client.\n", "")
    _, *others = inspect.signature(flow).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = inspect.Signature([itself, *others])  # type: ignore[attr-defined]
    return method


def _blocking(flow: Callable[Concatenate[Setup, P], Flow[T]]) -> "Callable[Concatenate[Client, P], T]":
    def method(client: "Client", /, *values: P.args, **named: P.kwargs) -> T:
        return client.run(flow(client.setup, *values, **named))

    return _like(method, flow)


def _iterated(
    flow: Callable[Concatenate[Setup, P], Stream[T]],
) -> "Callable[Concatenate[Client, P], Iterator[T]]":
    def method(client: "Client", /, *values: P.args, **named: P.kwargs) -> Iterator[T]:
        return client.iterate(flow(client.setup, *values, **named))

    return _like(method, flow)


def _awaited(
    flow: Callable[Concatenate[Setup, P], Flow[T]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    def method(client: "AsyncClient", /, *values: P.args, **named: P.kwargs) -> Coroutine[Any, Any, T]:
        return client.run(flow(client.setup, *values, **named))

    return _like(method, flow)


def _awaited_one_by_one(
    flow: Callable[Concatenate[Setup, P], Stream[T]],
) -> "Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]":
    def method(client: "AsyncClient", /, *values: P.args, **named: P.kwargs) -> AsyncIterator[T]:
        return client.iterate(flow(client.setup, *values, **named))

    return _like(method, flow)


class Client(BlockingDriver):
    """A client that blocks; threads may share it."""

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        patience: Patience = Patience(),
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: of the service.
            key: API key, where the service wants one.
            timeout_s: the service may be silent for so long, beside the time it was asked to wait.
            patience: how long requests that failed are tried again.

        Raises:
            ArgumentInvalid: address or key cannot be used.
        """
        http = httpx.Client(base_url=_checked_url(url), headers=_headers(key))
        super().__init__(http, Setup(url.rstrip("/"), patience, timeout_s))

    submit = _blocking(models.submit)
    check = _blocking(models.check)
    pareto = _blocking(models.pareto)
    pareto_svg = _blocking(models.pareto_svg)
    batch = _blocking(models.batch)
    generate = _blocking(models.generate)
    get_model = _blocking(models.get_model)
    list_models = _iterated(models.list_models)
    delete_model = _blocking(models.delete_model)
    get_job = _blocking(jobs.get_job)
    list_jobs = _iterated(jobs.list_jobs)
    cancel = _blocking(jobs.cancel)
    wait = _blocking(jobs.wait)
    events = _iterated(events.events)
    download = _blocking(downloads.download)
    manifest = _blocking(downloads.manifest)
    signature = _blocking(downloads.signature)
    signing_key = _blocking(downloads.signing_key)
    report = _blocking(downloads.report)
    list_reports = _iterated(downloads.list_reports)
    supernets = _blocking(offers.supernets)
    tasks = _blocking(offers.tasks)
    devices = _blocking(offers.devices)
    device = _blocking(offers.device)
    create_device = _blocking(offers.create_device)
    delete_device = _blocking(offers.delete_device)
    add_profile = _blocking(offers.add_profile)
    create_key = _blocking(access.create_key)
    list_keys = _iterated(access.list_keys)
    delete_key = _blocking(access.delete_key)
    create_webhook = _blocking(access.create_webhook)
    get_webhook = _blocking(access.get_webhook)
    list_webhooks = _iterated(access.list_webhooks)
    enable_webhook = _blocking(access.enable_webhook)
    rotate_webhook = _blocking(access.rotate_webhook)
    delete_webhook = _blocking(access.delete_webhook)
    list_deliveries = _iterated(access.list_deliveries)
    replay_delivery = _blocking(access.replay_delivery)


class AsyncClient(AwaitedDriver):
    """A client for asyncio; tasks may share it."""

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        patience: Patience = Patience(),
    ) -> None:
        """Make a client, as ``Client`` does."""
        http = httpx.AsyncClient(base_url=_checked_url(url), headers=_headers(key))
        super().__init__(http, Setup(url.rstrip("/"), patience, timeout_s))

    submit = _awaited(models.submit)
    check = _awaited(models.check)
    pareto = _awaited(models.pareto)
    pareto_svg = _awaited(models.pareto_svg)
    batch = _awaited(models.batch)
    generate = _awaited(models.generate)
    get_model = _awaited(models.get_model)
    list_models = _awaited_one_by_one(models.list_models)
    delete_model = _awaited(models.delete_model)
    get_job = _awaited(jobs.get_job)
    list_jobs = _awaited_one_by_one(jobs.list_jobs)
    cancel = _awaited(jobs.cancel)
    wait = _awaited(jobs.wait)
    events = _awaited_one_by_one(events.events)
    download = _awaited(downloads.download)
    manifest = _awaited(downloads.manifest)
    signature = _awaited(downloads.signature)
    signing_key = _awaited(downloads.signing_key)
    report = _awaited(downloads.report)
    list_reports = _awaited_one_by_one(downloads.list_reports)
    supernets = _awaited(offers.supernets)
    tasks = _awaited(offers.tasks)
    devices = _awaited(offers.devices)
    device = _awaited(offers.device)
    create_device = _awaited(offers.create_device)
    delete_device = _awaited(offers.delete_device)
    add_profile = _awaited(offers.add_profile)
    create_key = _awaited(access.create_key)
    list_keys = _awaited_one_by_one(access.list_keys)
    delete_key = _awaited(access.delete_key)
    create_webhook = _awaited(access.create_webhook)
    get_webhook = _awaited(access.get_webhook)
    list_webhooks = _awaited_one_by_one(access.list_webhooks)
    enable_webhook = _awaited(access.enable_webhook)
    rotate_webhook = _awaited(access.rotate_webhook)
    delete_webhook = _awaited(access.delete_webhook)
    list_deliveries = _awaited_one_by_one(access.list_deliveries)
    replay_delivery = _awaited(access.replay_delivery)


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL()
    usable = parsed.scheme in ("http", "https") and parsed.host and not re.search(r"[\s?#]", url)
    if not usable:
        raise ArgumentInvalid("the service's address must begin with http:// or https:// and have no query")
    if parsed.userinfo:
        raise ArgumentInvalid("the service's address must hold no password; keys are given by themselves")
    return url


def _headers(key: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": f"nn-factory/{version('nn-factory')}"}
    if key is not None:
        # It is not repeated: keys are secret.
        if not _KEY.fullmatch(key):
            raise ArgumentInvalid("the API key has characters that no key has")
        headers["Authorization"] = f"Bearer {key}"
    return headers
