from pathlib import Path
from typing import Any

import pytest

from service.errors import SettingInvalid
from service.settings import NAMES, Settings, check_host, read_settings, warn_of_unknown


def test_without_any_setting_the_defaults_hold() -> None:
    settings = read_settings({})
    assert settings.data_dir == Path("nnfactory-data").absolute()
    assert (settings.supernets, settings.datasets, settings.torch_device) == ((), None, "auto")
    assert (settings.auth_off_explicit, settings.auth_required) == (False, False)


def test_keys_may_be_required() -> None:
    settings = read_settings({"NNF_AUTH": "required"})
    assert settings.auth_required
    assert not settings.auth_off_explicit


def test_settings_come_from_the_environment_and_the_command_line_goes_first(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    environ = {
        "NNF_DATA_DIR": str(tmp_path / "elsewhere"),
        "NNF_SUPERNETS": f"{tmp_path / 'a'}:{tmp_path / 'b'}",
        "NNF_DATASETS": str(tmp_path),
        "NNF_TORCH_DEVICE": "cpu",
        "NNF_AUTH": "off",
    }
    settings = read_settings(environ)
    assert settings.data_dir == tmp_path / "elsewhere"
    assert settings.supernets == (tmp_path / "a", tmp_path / "b")
    assert settings.auth_off_explicit
    assert read_settings(environ, data_dir=tmp_path).data_dir == tmp_path


@pytest.mark.parametrize(
    "environ",
    [
        {"NNF_AUTH": "no"},
        {"NNF_LOG": "xml"},
        {"NNF_ACCESS_LOG": "1"},
        {"NNF_TORCH_DEVICE": "tpu"},
        {"NNF_SUPERNETS": "/nowhere/at/all"},
        {"NNF_DATASETS": "/nowhere/at/all"},
        {"NNF_DATABASE_URL": "mysql://db/nnf"},
        {"NNF_REDIS_URL": "memcached://cache"},
        {"NNF_STORE_URL": "bucket"},
        {"NNF_STORE_URL": "s3://"},
        {"NNF_STORE_URL": "s3://user:secret@bucket/prefix"},
        {"NNF_STORE_URL": "file://host/folder"},
        {"NNF_STORE_URL": "https://bucket"},
        {"NNF_JOB_TIMEOUT_S": "-1"},
        {"NNF_KEEP_DAYS": "0"},
        {"NNF_WEBHOOK_ALLOW": "10.0.0.1/8"},
        {"NNF_KEEP_DAYS": "forever"},
        {"NNF_QUEUE_LIMIT": "many"},
        {"NNF_QUEUE_LIMIT": "0"},
        {"NNF_QUEUE_LIMIT": "0.5"},
        {"NNF_QUEUE_LIMIT": "1.5"},
        {"NNF_TENANT_JOBS": "0"},
        {"NNF_RATE_LIMIT": "many"},
        {"NNF_AUDIT_DAYS": "for ever"},
        {"NNF_DRAIN_S": "-1"},
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(environ: dict[str, str]) -> None:
    with pytest.raises(SettingInvalid, match=next(iter(environ))):
        read_settings(environ)


def test_a_queue_may_be_as_short_as_one_job() -> None:
    assert read_settings({"NNF_QUEUE_LIMIT": "1"}).queue_limit == 1
    assert read_settings({"NNF_KEEP_DAYS": "0.5"}).keep_s == 43_200
    assert read_settings({}).keep_s is None
    allowed = read_settings({"NNF_WEBHOOK_ALLOW": "hooks.inner,10.0.0.0/8"}).webhook_allow
    assert (allowed.hosts, len(allowed.networks)) == ({"hooks.inner"}, 1)


def test_tenants_are_held_up_only_where_that_is_set() -> None:
    settings = read_settings({})
    assert (settings.rate_limit, settings.tenant_jobs) == (None, None)
    settings = read_settings({"NNF_RATE_LIMIT": "100/second", "NNF_TENANT_JOBS": "50"})
    assert (settings.rate_limit, settings.tenant_jobs) == ("100/second", 50)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_may_be_served_without_keys(host: str, tmp_path: Path) -> None:
    check_host(Settings(data_dir=tmp_path), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_hosts_are_refused_unless_keys_are_required_or_auth_is_off_explicitly(
    host: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingInvalid, match="NNF_AUTH=off"):
        check_host(Settings(data_dir=tmp_path), host)
    check_host(Settings(data_dir=tmp_path, auth_off_explicit=True), host)
    check_host(Settings(data_dir=tmp_path, auth_required=True), host)


def test_a_database_server_is_named_as_its_address_says() -> None:
    found = read_settings({"NNF_DATABASE_URL": "postgres://fleet:secret@db:5433/nnf"}).database
    assert (found.host, found.port, found.database) == ("db", 5433, "nnf")


@pytest.mark.parametrize("url", ["postgresql://fleet:secret@db", "mysql://fleet:secret@db/nnf", "secret"])
def test_what_is_wrong_with_the_address_of_a_database_is_told_without_the_password(url: str) -> None:
    with pytest.raises(SettingInvalid, match="NNF_DATABASE_URL") as caught:
        read_settings({"NNF_DATABASE_URL": url})
    assert "secret" not in str(caught.value)


def test_artifacts_lie_where_the_store_s_address_says(tmp_path: Path) -> None:
    assert read_settings({}, data_dir=tmp_path).store_path == tmp_path / "artifacts"
    found = read_settings({"NNF_STORE_URL": f"file://{tmp_path}/a%20b"}, data_dir=tmp_path)
    assert found.store_path == tmp_path / "a b"
    assert read_settings({"NNF_STORE_URL": "s3://models/a/b"}).store_url == "s3://models/a/b"


class Asked(dict[str, str]):
    """An environment that notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def test_all_that_is_read_is_known() -> None:
    read_settings(asked := Asked())
    assert asked.names | {"NNF_URL", "NNF_KEY"} == NAMES


def test_a_misspelt_setting_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_unknown({"NNF_AUHT": "required", "NNF_AUTH": "off", "PATH": "/bin"})
    said = capsys.readouterr().err
    assert said == 'NNF_AUHT is no setting of this program; did you mean "NNF_AUTH"?\n'
