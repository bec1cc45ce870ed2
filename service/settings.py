"""Settings: what the environment decides, read once at start and passed on as plain arguments."""

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from service.db import file_url
from service.errors import SettingInvalid
from service.logs import JSON, TEXT, say
from service.targets import Allowed

# All that the program's commands read; the last three are those of clients and of logs.
NAMES = frozenset(
    "NNF_" + name
    for name in (
        *(
            "AUTH",
            "ACCESS_LOG",
            "AUDIT_DAYS",
            "DATABASE_URL",
            "DATASETS",
            "DATA_DIR",
            "DRAIN_S",
            "JOB_TIMEOUT_S",
        ),
        *("KEEP_DAYS", "QUEUE_LIMIT", "RATE_LIMIT", "REDIS_URL", "SIGNING_KEY", "STORE_URL", "SUPERNETS"),
        *("TENANT_JOBS", "TORCH_DEVICE", "WEBHOOK_ALLOW", "URL", "KEY", "LOG"),
    )
)
TORCH_DEVICES = ("auto", "cpu", "cuda")
DAY_S = 24 * 3600.0
NOTHING_INSIDE = Allowed()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process of the service needs to know before it starts.

    ``auth_required`` says that clients need a key, ``auth_off_explicit`` that NNF_AUTH=off was set, not merely left
    at its default. ``keep_s`` is how long jobs and models are kept, None for ever, ``drain_s`` how long a process that
    is asked to end still listens. ``webhook_allow`` names the receivers inside that webhooks may be sent to.
    """

    data_dir: Path
    supernets: tuple[Path, ...] = ()
    datasets: Path | None = None
    database_url: URL | None = None
    store_url: str | None = None
    redis_url: str | None = None
    auth_required: bool = False
    auth_off_explicit: bool = False
    torch_device: str = "auto"
    body_limit_bytes: int = 1024 * 1024
    batch_limit_bytes: int = 16 * 1024 * 1024
    queue_limit: int = 100_000
    tenant_jobs: int | None = None
    rate_limit: str | None = None
    audit_days: float = 365.0
    job_timeout_s: float = 600.0
    keep_s: float | None = None
    access_log: bool = False
    webhook_allow: Allowed = NOTHING_INSIDE
    signing_key: Path | None = None
    drain_s: float = 0.5
    lease_s: float = 15.0
    beat_s: float = 1.0

    @property
    def database_path(self) -> Path:
        """The file of the embedded database."""
        return self.data_dir / "nnfactory.db"

    @property
    def database(self) -> URL:
        """The address of the database: that of a server, or of the embedded file."""
        return self.database_url or file_url(self.database_path)

    @property
    def store_path(self) -> Path:
        """The folder of the artifacts, where they are files."""
        if self.store_url is not None and self.store_url.startswith("file://"):
            return Path(unquote(urlsplit(self.store_url).path))
        return self.data_dir / "artifacts"

    @property
    def cache_path(self) -> Path:
        """The folder of what was read of an object store lately."""
        return self.data_dir / "cache"


def read_settings(environ: Mapping[str, str] = os.environ, *, data_dir: Path | None = None) -> Settings:
    """Return the settings of this process.

    Args:
        environ: the environment; names start with ``NNF_``.
        data_dir: what the command line says, which goes before ``NNF_DATA_DIR``.

    Raises:
        SettingInvalid: a value cannot be used, or asks for something this version does not have.
    """
    auth = environ.get("NNF_AUTH", "")
    if auth not in ("", "off", "required"):
        raise SettingInvalid("NNF_AUTH must be off or required")
    if environ.get("NNF_LOG", TEXT) not in (TEXT, JSON):
        raise SettingInvalid("NNF_LOG must be text or json")
    access_log = environ.get("NNF_ACCESS_LOG", "off")
    if access_log not in ("on", "off"):
        raise SettingInvalid("NNF_ACCESS_LOG must be on or off")
    torch_device = environ.get("NNF_TORCH_DEVICE", "auto")
    if torch_device not in TORCH_DEVICES:
        raise SettingInvalid(f"NNF_TORCH_DEVICE must be one of {', '.join(TORCH_DEVICES)}")
    folders = environ.get("NNF_SUPERNETS", "").split(os.pathsep)
    return Settings(
        data_dir=(data_dir or Path(environ.get("NNF_DATA_DIR") or "nnfactory-data")).absolute(),
        supernets=tuple(_folder("NNF_SUPERNETS", folder) for folder in folders if folder),
        datasets=_folder("NNF_DATASETS", environ["NNF_DATASETS"]) if environ.get("NNF_DATASETS") else None,
        database_url=_database_url(environ.get("NNF_DATABASE_URL")),
        store_url=_store_url(environ.get("NNF_STORE_URL")),
        redis_url=_redis_url(environ.get("NNF_REDIS_URL")),
        auth_required=auth == "required",
        auth_off_explicit=auth == "off",
        torch_device=torch_device,
        job_timeout_s=_positive(environ, "NNF_JOB_TIMEOUT_S", 600.0),
        keep_s=_positive(environ, "NNF_KEEP_DAYS", 0.0) * DAY_S or None,
        access_log=access_log == "on",
        webhook_allow=_allowed(environ.get("NNF_WEBHOOK_ALLOW", "")),
        signing_key=Path(environ["NNF_SIGNING_KEY"]).absolute() if environ.get("NNF_SIGNING_KEY") else None,
        queue_limit=_whole(environ, "NNF_QUEUE_LIMIT", 100_000),
        tenant_jobs=_whole(environ, "NNF_TENANT_JOBS", 0) or None,
        audit_days=_positive(environ, "NNF_AUDIT_DAYS", 365.0),
        drain_s=_positive(environ, "NNF_DRAIN_S", 0.5),
        rate_limit=_rate(environ.get("NNF_RATE_LIMIT")),
    )


def warn_of_unknown(environ: Mapping[str, str] = os.environ) -> None:
    """Tell of variables that look like settings and are none: one that is misspelt would go unnoticed."""
    from assembler.scenario import did_you_mean

    for name in sorted(environ):
        if name.startswith("NNF_") and name not in NAMES:
            say(f"{name} is no setting of this program{did_you_mean(name, sorted(NAMES))}", logging.WARNING)


def check_host(settings: Settings, host: str) -> None:
    """Check that an open service is offered to this machine only, unless that was asked for.

    Raises:
        SettingInvalid: the host is not loopback, and NNF_AUTH is not set.
    """
    if not (settings.auth_required or settings.auth_off_explicit or _is_loopback(host)):
        raise SettingInvalid(
            f"refusing to serve on {host} without keys: everyone who reaches it could use it; "
            "set NNF_AUTH=required, or NNF_AUTH=off to do so all the same"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _database_url(text: str | None) -> URL | None:
    """Return the address of a PostgreSQL server; what is wrong with one is told without the password in it."""
    if not text:
        return None
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        url = None
    if url is None or url.drivername != "postgresql" or not url.database:
        raise SettingInvalid("NNF_DATABASE_URL must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url


def _store_url(text: str | None) -> str | None:
    """Return the address of an object store, or of a folder."""
    if not text:
        return None
    found = urlsplit(text)
    is_folder = found.scheme == "file" and not found.netloc and found.path.startswith("/")
    is_bucket = found.scheme == "s3" and found.hostname and found.netloc == found.hostname
    if not (is_folder or is_bucket) or found.query or found.fragment:
        raise SettingInvalid("NNF_STORE_URL must be s3://BUCKET/PREFIX or file:///FOLDER")
    return text


def _redis_url(text: str | None) -> str | None:
    """Return the address of Redis; what is wrong with one is told without the password in it."""
    if text and urlsplit(text).scheme not in ("redis", "rediss", "unix"):
        raise SettingInvalid("NNF_REDIS_URL must be redis://USER:PASSWORD@HOST:PORT/NUMBER")
    return text or None


def _rate(text: str | None) -> str | None:
    """Return a rate of requests."""
    if not text:
        return None
    # Not at the head of the file: it takes as long to load as all the rest of a command.
    from service.rates import parse_rate

    try:
        parse_rate(text)
    except ValueError:
        raise SettingInvalid("NNF_RATE_LIMIT must be a rate such as 100/second or 1000/minute") from None
    return text


def _allowed(text: str) -> Allowed:
    """Return the inner hosts and networks that webhooks may be sent to."""
    try:
        return Allowed.parse(text)
    except ValueError:
        raise SettingInvalid(
            "NNF_WEBHOOK_ALLOW must be names of hosts, addresses and networks, separated by commas"
        ) from None


def _folder(name: str, text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_dir():
        raise SettingInvalid(f"{name} names {text}, which is not a folder")
    return path


def _positive(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise SettingInvalid(f"{name} must be a positive number")
    return value


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    value = _positive(environ, name, default)
    if value % 1:
        raise SettingInvalid(f"{name} must be a whole number, at least 1")
    return int(value)
