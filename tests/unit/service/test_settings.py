"""All settings are read and checked in one place."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from runstream_service.auth import identity_settings
from runstream_service.errors.startup import StartupError
from runstream_service.server import settings as settings_module
from runstream_service.server.settings import OPTIONS, Address, read_settings


def test_defaults_are_right_for_a_laptop() -> None:
    settings = read_settings({})
    assert (str(settings.grpc_listen), str(settings.http_listen)) == ("127.0.0.1:50051", "127.0.0.1:5000")
    assert (settings.data_dir, settings.database_url) == (Path("runstream-data"), None)
    assert (settings.writers, settings.shutdown_grace_s, settings.json_ready) == (2, 20.0, False)


def test_every_option_is_read_into_a_setting() -> None:
    source = "".join(inspect.getsource(module) for module in (settings_module, identity_settings))
    for option in OPTIONS:
        names = [name for name in ("CERTIFICATE", "KEY", "CLIENT_CA") if getattr(settings_module, name) == option.flag]
        name = names[0] if names else f'"{option.flag}"'
        assert re.search(rf"\bread\(\s*{re.escape(name)}", source), f"{option.flag} has no effect"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("[::1]:5000", Address("::1", 5000)),
        (" 127.0.0.1:80 ", Address("127.0.0.1", 80)),
    ],
)
def test_addresses_are_read_and_written_back(text: str, address: Address) -> None:
    assert read_settings({"--grpc-listen": text}).grpc_listen == address
    assert str(address) == text.strip()


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--grpc-listen", "50051", "is not HOST:PORT"),
        ("--grpc-listen", "127.0.0.1:99999", "is not HOST:PORT"),
        ("--grpc-listen", "::1:5000", "is not HOST:PORT"),
        ("--http-listen", "http://127.0.0.1:5000", "is not HOST:PORT"),
        ("--http-listen", "", "is not HOST:PORT"),
        ("--database", "mysql://db/x", "its scheme is 'mysql'"),
        ("--database", "db.example:5432", "its scheme is 'none'"),
        ("--database-wait", "soon", "is not a number of seconds"),
        ("--workers", "0", "is not a whole number from 1 to 64"),
        ("--workers", "auto", "is not a whole number"),
        ("--pool-size", "0", "is not a whole number from 1"),
        ("--pool-size", "5", "5 connections are too few"),
        ("--max-series-per-run", "0", "is not a whole number from 1"),
        ("--writers", "two", "is not a whole number"),
        ("--writers", "٣", "is not a whole number"),
        ("--max-queued-points", "-5", "is not a whole number"),
        ("--max-streams", "1e3", "is not a whole number"),
        ("--workspace-streams", "-1", "is not a whole number"),
        ("--workspace-points-per-second", "many", "is not a whole number from 0"),
        ("--metrics-by-workspace", "yes", "is not one of off, on"),
        ("--max-connection-age", "30min", "is not a number of seconds"),
        ("--silent-run-after", "1h", "is not a number of seconds from 0"),
        ("--silent-run-after", "59", "59 s are too short"),
        ("--shutdown-grace", "nan", "is not a number of seconds"),
        ("--shutdown-grace", "0", "is not a number of seconds from 1"),
        ("--log-level", "loud", "is not one of debug, info"),
        ("--log-format", "xml", "is not one of auto, json"),
        ("--data-dir", "", "a path is needed"),
        ("--trusted-proxies", "proxy.example.org", "is neither an IP address nor a network"),
        ("--trusted-proxies", "10.0.0.1/8", "is neither an IP address nor a network"),
        ("--trusted-proxies", "10.0.0.1,*", "trusts all addresses"),
        ("--path-prefix", "runs", "is not a path"),
        ("--path-prefix", "/a b", "is not a path"),
        ("--path-prefix", "/api/runs", "like the paths of the service itself"),
        ("--artifacts", "ftp://host/x", "is not a scheme of a bucket for artifacts"),
        ("--artifacts", "s3://", "the URL of a bucket with its name"),
        ("--monitoring-listen", "9464", "is not HOST:PORT"),
    ],
)
def test_wrong_values_name_flag_variable_and_a_right_example(flag: str, value: str, words: str) -> None:
    with pytest.raises(StartupError) as caught:
        read_settings({flag: value})
    variable = "RUNSTREAM_" + flag[2:].replace("-", "_").upper()
    assert str(caught.value).startswith(f"{flag} ({variable}): ")
    assert words in str(caught.value)
    assert (caught.value.setting, caught.value.exit_code) == (flag, 2)
    read_settings({flag: caught.value.example})  # the example is right


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"--server-certificate": "tls.crt"}, "--server-key"),
        ({"--server-certificate": "tls.crt", "--server-client-ca": "ca.crt"}, "--server-key"),
        ({"--server-key": "tls.key"}, "--server-certificate"),
        ({"--server-client-ca": "ca.crt"}, "--server-certificate"),
    ],
)
def test_half_a_configuration_of_tls_names_what_is_missing(given: dict[str, str], missing: str) -> None:
    with pytest.raises(StartupError) as caught:
        read_settings(given)
    assert caught.value.setting == missing


def test_without_tls_and_a_port_for_monitoring_there_is_none() -> None:
    assert (read_settings({}).tls, read_settings({}).monitoring_listen) == (None, None)


@pytest.mark.parametrize(("text", "prefix"), [("", ""), ("/", ""), ("/ml", "/ml"), ("/ml/runs/", "/ml/runs")])
def test_a_prefix_is_taken_with_a_slash_at_its_end_and_without(text: str, prefix: str) -> None:
    assert read_settings({"--path-prefix": text}).path_prefix == prefix


def test_artifacts_are_below_the_data_directory_unless_said_otherwise() -> None:
    assert (
        read_settings({"--data-dir": "/srv/data", "--database": "postgresql://db/x"}).artifacts == "/srv/data/artifacts"
    )
    assert read_settings({"--artifacts": "s3://bucket/prefix"}).artifacts == "s3://bucket/prefix"
    assert read_settings({"--artifacts": "./files"}).artifacts == "./files"


def test_password_of_the_database_is_not_in_the_repr() -> None:
    settings = read_settings({"--database": "postgresql://me:hunter2@db/x"})
    assert settings.database_url == "postgresql://me:hunter2@db/x"
    assert "hunter2" not in repr(settings)


def test_workers_get_a_part_of_what_bounds_the_replica() -> None:
    settings = read_settings({"--workers": "3", "--max-streams": "100", "--max-queued-points": "90000"})
    of_worker = settings.of_worker()
    assert (of_worker.max_streams, of_worker.max_queued_points) == (33, 30_000)
    assert (of_worker.pool_size, of_worker.writers) == (settings.pool_size, settings.writers)
    assert read_settings({"--workers": "64"}).of_worker().max_queued_points == 16_384, "a full batch has to fit"


def test_a_worker_reads_the_same_settings_from_the_same_texts() -> None:
    settings = read_settings({"--workers": "2", "--database": "postgresql://db/x", "--epoch-seconds": "7"})
    assert read_settings(settings.texts) == settings


def test_several_workers_are_refused_where_they_could_not_share_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert read_settings({"--workers": "1"}).workers == 1
    with pytest.raises(StartupError, match="only Linux can do"):
        read_settings({"--workers": "2"})


def test_every_option_has_a_help_text_and_a_default_that_is_accepted() -> None:
    assert all(option.help.endswith(".") for option in OPTIONS)
    read_settings({option.flag: option.default for option in OPTIONS})
