"""Parsing URLs of databases; the error for a wrong one contains nothing that could be part of its password."""

from __future__ import annotations

import pytest

from runstream._masking import mask_secrets
from runstream_service.database.database_url import DatabaseUrl, Server
from runstream_service.errors.startup import StartupError
from runstream_service.server.settings import read_settings


@pytest.mark.parametrize(
    ("url", "servers", "rest"),
    [
        ("postgresql://u:p@db/x", [("db", 5432)], "postgresql://u:p@/x"),
        ("postgres://db:7/x", [("db", 7)], "postgresql:///x"),
        ("postgresql://u:p@a:1,b:2,c/x?sslmode=require", [("a", 1), ("b", 2), ("c", 5432)], "postgresql://u:p@/x?sslmode=require"),
        ("postgresql://u@[::1]:1,[fe80::2]/x", [("::1", 1), ("fe80::2", 5432)], "postgresql://u@/x"),
        ("postgresql://u@%2Frun%2Fpg:6/x", [("/run/pg", 6)], "postgresql://u@/x"),
        ("postgresql://u@/x?host=/run/a,/run/b&port=6", [("/run/a", 6), ("/run/b", 6)], "postgresql://u@/x"),
        ("postgresql://u@/x?host=a,b&port=6,7&user=v", [("a", 6), ("b", 7)], "postgresql://u@/x?user=v"),
        ("postgresql://a,b/x?target_session_attrs=read-write", [("a", 5432), ("b", 5432)], "postgresql:///x"),
        ("postgresql://a,b/x?target_session_attrs=any", [("a", 5432), ("b", 5432)], "postgresql:///x"),
        ("postgresql://u:p,%40w@a/x", [("a", 5432)], "postgresql://u:p,%40w@/x"),
        ("postgresql:///x", [], "postgresql:///x"),
        ("postgresql://", [], "postgresql://"),
    ],
)  # fmt: skip
def test_servers_of_a_url(url: str, servers: list[tuple[str, int]], rest: str) -> None:
    parsed = DatabaseUrl.parse(url)
    assert parsed.servers == tuple(Server(*server) for server in servers)
    assert parsed.rest == rest


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hunter2@a,,b/x", "server 2 of the URL"),
        ("postgresql://me:hunter2@a,/x", "server 2 of the URL"),
        ("postgresql://me:hunter2@a:port/x", "the port of server 1"),
        ("postgresql://me:hunter2@a:5432,b:70000/x", "the port of server 2"),
        ("postgresql://me:hunter2@a:0/x", "the port of server 1"),
        ("postgresql://me:hunter2@::1/x", "server 1 of the URL"),
        ("postgresql://me:hun/ter2@a/x", "%2F"),
        ("postgresql://me:1/hunter2@a/x", "%40"),
        ("postgresql://me:hun?ter2@a/x", "%3F"),
        ("postgresql://me:hun?ter2=x@a/x", "parameter 1 after the ? of the URL is no parameter of PostgreSQL's URLs"),
        ("postgresql://me:hun#ter2@a/x", "%23"),
        ("postgresql://me:hun@ter2@a/x", "%40"),
        ("postgresql://me@a/x?password=hunter2&ter2", "name=value"),
        ("postgresql://me:hunter2@a/x?host=b", "once is enough"),
        ("postgresql://me:hunter2@/x?port=1", "without host="),
        ("postgresql://me:hunter2@/x?host=a,b,c&port=1,2", "3 hosts and 2 ports"),
        ("postgresql://me:hunter2@/x?host=a,,c", "server 2 of the URL is empty"),
        ("postgresql://me:hunter2@a,b/x?target_session_attrs=standby", "takes no writes; leave it out"),
        ("postgresql://me:hunter2@a,b/x?target_session_attrs=prefer-standby", "takes no writes; leave it out"),
        ("postgresql://me:hunter2@a,b/x?target_session_attrs=read-only", "takes no writes; leave it out"),
        ("postgresql://me:hunter2@a/x?schema=public", "schema is no parameter of PostgreSQL's URLs; write options="),
        ("postgresql://me:hunter2@a/x?currentSchema=y", "write options=-csearch_path%3DNAME"),
        ("postgresql://me:hunter2@a/x?ssl=true", "write sslmode=require"),
        (
            "postgresql://me:hunter2@a/x?connection_limit=5",
            "connection_limit is no parameter of PostgreSQL's URLs; leave",
        ),
        ("postgresql://me:hunter2@a/x?statement_timeout=5", "options=-cNAME%3DVALUE"),
        ("postgresql://me:hunter2@a/x?require_auth=scram-sha-256", "require_auth is not supported"),
        ("postgresql://me:hunter2@a/x?gssencmode=require", "use TLS"),
        ("postgresql://me:hunter2@a/x?sslcert=/nowhere/c.pem", "cannot read the file /nowhere/c.pem of sslcert"),
        ("postgresql://me:hunter2@a,b/x?target_session_attrs=hunter2", "must be one of read-write, primary, any"),
    ],
)
def test_a_wrong_url_is_refused_with_a_message_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StartupError) as caught:
        read_settings({"--database": url})
    assert str(caught.value).startswith("--database (RUNSTREAM_DATABASE): ")
    assert words in str(caught.value)
    assert not any(part in str(caught.value) for part in ("hunter2", "ter2", "hun"))
    read_settings({"--database": caught.value.example})


def test_parameters_without_effect_are_named_and_do_not_reach_the_driver() -> None:
    """Parameters that providers write into their URLs."""
    parsed = DatabaseUrl.parse("postgresql://u:p@db/x?sslmode=require&channel_binding=require&connect_timeout=10")
    assert parsed.ignored == ("channel_binding", "connect_timeout")
    assert parsed.rest == "postgresql://u:p@/x?sslmode=require"


def test_the_authorities_of_the_system_are_a_file() -> None:
    rest = DatabaseUrl.parse("postgresql://u:p@db/x?sslmode=verify-full&sslrootcert=system").rest
    assert "system" not in rest
    assert "sslrootcert=%2F" in rest


def test_the_password_of_a_url_with_several_servers_is_masked_and_not_in_the_repr() -> None:
    url = "postgresql://me:hunter2@a:5432,b:5433/x?target_session_attrs=read-write"
    assert mask_secrets(f"cannot connect to {url}") == (
        "cannot connect to postgresql://me:***@a:5432,b:5433/x?target_session_attrs=read-write"
    )
    assert "hunter2" not in repr(DatabaseUrl.parse(url))
    assert "hunter2" not in repr(read_settings({"--database": url}))
