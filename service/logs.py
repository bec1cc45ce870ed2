"""Logs: lines for people, or a JSON object a line for programs, with what they are about and without secrets."""

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

TEXT, JSON = "text", "json"
FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
HIDDEN = "***"
# Secrets of keys but for their id, and passwords in addresses.
_SECRETS = (
    (re.compile(r"(nnf_[0-9a-f]{32})[0-9A-Za-z]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*):[^\s@\"']+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)(\bbearer\s+)[^\s\"',]+"), rf"\1{HIDDEN}"),
)
# That a server is away is met again and again; it is told at most so often, s.
SELDOM_S = 30.0
REMEMBERED = 1000
_AWAY = {
    "service.db.DatabaseSilent",
    *(
        f"sqlalchemy.exc.{name}"
        for name in ("OperationalError", "InterfaceError", "InternalError", "TimeoutError")
    ),
    *(f"redis.exceptions.{name}" for name in ("ConnectionError", "TimeoutError")),
}
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039
_process: dict[str, str] = {}

said = logging.getLogger("service.said")


def set_up_logs(environ: Mapping[str, str] = os.environ) -> None:
    """Have this process log to the standard error as ``NNF_LOG`` says; once, unless somebody else did."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(Seldom())
    handler.addFilter(_add_what_it_is_about)
    if environ.get("NNF_LOG") == JSON:
        handler.setFormatter(_json_lines())
        said.setLevel(logging.INFO)
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda found: _log_uncaught(
            found.exc_type, found.exc_value, found.exc_traceback
        )
    else:
        handler.setFormatter(_Lines(FORM))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


@contextlib.contextmanager
def about(**names: str) -> Iterator[None]:
    """Have all that is logged in this context say what it is about: ``request_id``, ``job_id``."""
    token = _about.set({**_about.get(), **names})
    try:
        yield
    finally:
        _about.reset(token)


def name_process(**names: str) -> None:
    """Have all that this process logs say so: ``worker``."""
    _process.update(names)


def say(text: str, level: int = logging.INFO) -> None:
    """Tell the person who started the program; where programs read the log, it is a line of it."""
    if said.level:
        said.log(level, "%s", text)
    else:
        print(text, file=sys.stderr, flush=True)


def without_secrets(text: str) -> str:
    """Return a text in which keys and passwords of addresses are hidden."""
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return text


class Seldom(logging.Filter):
    """Lets pass once in a while, and in one line, that a server is away; whatever else is logged passes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare to filter by a clock, s."""
        super().__init__()
        self._clock = clock
        self._told_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be told; the trace of what is not there is left out."""
        error = record.exc_info[1] if record.exc_info else None
        away = error is not None and _is_away(error)
        # The job engine repeats itself as well, and tells it in other ways.
        if not away and not record.name.startswith("docket"):
            return True
        said, now = (record.name, str(record.msg)), self._clock()
        if now - self._told_at.get(said, -SELDOM_S) < SELDOM_S:
            return False
        if len(self._told_at) >= REMEMBERED:
            self._told_at.clear()
        self._told_at[said] = now
        if away:
            reason = (str(error).splitlines() or [""])[0]
            record.msg = f"{record.getMessage()}: {type(error).__name__}: {reason}"
            record.args = ()
            record.exc_info = None
        return True


def _is_away(error: BaseException) -> bool:
    # Told by name: most commands load neither of the two libraries.
    return any(f"{kind.__module__}.{kind.__name__}" in _AWAY for kind in type(error).__mro__)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _json_lines() -> logging.Formatter:
    # Not at the head of the file: most commands log text.
    from pythonjsonlogger.json import JsonFormatter

    class JsonLines(JsonFormatter):
        def format(self, record: logging.LogRecord) -> str:
            return without_secrets(super().format(record))

    return JsonLines(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        timestamp="time",
        json_ensure_ascii=False,
    )


def _add_what_it_is_about(record: logging.LogRecord) -> bool:
    for name, value in {**_process, **_about.get()}.items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: "TracebackType | None"
) -> None:
    if not issubclass(kind, (KeyboardInterrupt, SystemExit)) and error is not None:
        logging.getLogger("service").critical("the program broke off", exc_info=(kind, error, trace))
