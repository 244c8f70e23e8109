"""Parses the URL of a PostgreSQL into the servers that it names, and the rest.

The driver would try the servers of a URL one after another within one timeout, and a first server that is dead would
use up all of it. So failover.py connects to each server itself, and needs them separately. Messages about a wrong URL
contain no part of it, since each part may belong to a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from runstream_service.database import tls, url_parameters

DEFAULT_PORT = 5432
# The accepted values of target_session_attrs. All of them allow a server that takes writes, which the service always
# looks for.
_TARGETS = ("read-write", "primary", "any")
_TARGETS_WITHOUT_WRITES = ("read-only", "standby", "prefer-standby")

_PARTS = re.compile(r"postgres(?:ql)?://(?P<authority>[^/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?", re.DOTALL)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.]+)?\]|[\w.%-]+)(?::(?P<port>[^:]*))?", re.ASCII)
_ENCODE = "In a user, password or database name, write / ? # @ : as %2F %3F %23 %40 %3A"


@dataclass(frozen=True, slots=True)
class Server:
    """One server: a host name, an address, or the directory of a unix socket; and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A checked URL. If it names no servers, `servers` is empty, and PGHOST or the driver's default is used."""

    servers: tuple[Server, ...]
    rest: str = field(repr=False)  # the URL without servers; it holds the password
    ignored: tuple[str, ...] = ()  # parameters without effect here

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Parses `postgresql://user:password@host:5432,other-host:5432/database?name=value`.

        Servers may also be in the query, as `host=a,b&port=5432,5433`; so may the directory of a unix socket.

        Raises:
            ValueError: the URL is invalid; the message says why without showing any part of it.
        """
        parts = _PARTS.fullmatch(text)
        if parts is None:
            scheme = text.partition("://")[0] if "://" in text else "none"
            raise ValueError(f"the URL must begin with postgresql://; its scheme is {scheme[:20]!r}")
        if "#" in text:
            raise ValueError(f"the URL has a #. {_ENCODE}")
        login, at, hosts = parts["authority"].rpartition("@")
        if "@" in login or "@" in (parts["path"] or ""):
            raise ValueError(f"the URL has an @ that does not end its user and password. {_ENCODE}")
        query, ignored = url_parameters.select(_query(parts["query"] or ""), encode=_ENCODE)
        asked = {name: [value for key, value in query if key == name] for name in ("host", "port")}
        if hosts and (asked["host"] or asked["port"]):
            raise ValueError("the URL names servers before the database and as host= or port= too; once is enough")
        _check_target([value for name, value in query if name == "target_session_attrs"])
        tls.check_files({name: unquote(value) for name, value in query})
        servers = _servers(hosts) if hosts else _servers_of_query(asked["host"], asked["port"])
        kept = [f"{name}={value}" for name, value in query if name not in url_parameters.SERVERS]
        rest = f"postgresql://{login}{at}{parts['path'] or ''}" + ("?" + "&".join(kept) if kept else "")
        return cls(servers, rest, ignored)


def _query(text: str) -> list[tuple[str, str]]:
    """The names and values of a query, still percent-encoded."""
    pairs = [part.partition("=") for part in text.split("&")] if text else []
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"what follows the ? of the URL must be name=value, with & between. {_ENCODE}")
    return [(name, value) for name, _, value in pairs]


def _check_target(values: list[str]) -> None:
    for value in values:
        if value in _TARGETS_WITHOUT_WRITES:
            raise ValueError(
                f"target_session_attrs={value} asks for a server that takes no writes; leave it out: the service looks "
                "for the one that does"
            )
        if value not in _TARGETS:
            raise ValueError(f"target_session_attrs must be one of {', '.join(_TARGETS)}, or left out")


def _servers(hosts: str) -> tuple[Server, ...]:
    """The servers in a text such as `host:port,[::1]:port`."""
    servers = []
    for position, text in enumerate(hosts.split(","), start=1):
        match = _HOST.fullmatch(text)
        if match is None:
            raise ValueError(f"server {position} of the URL is not HOST or HOST:PORT. {_ENCODE}")
        port = DEFAULT_PORT if match["port"] is None else _port(match["port"], position)
        servers.append(Server(unquote(match["host"].strip("[]")), port))
    return tuple(servers)


def _servers_of_query(hosts: list[str], ports: list[str]) -> tuple[Server, ...]:
    if not hosts:
        if ports:
            raise ValueError("the URL has port= without host=")
        return ()
    names = unquote(hosts[-1]).split(",")
    numbers = [_port(text, n) for n, text in enumerate(unquote(ports[-1]).split(","), start=1)] if ports else []
    if len(numbers) > 1 and len(numbers) != len(names):
        raise ValueError(f"the URL has {len(names)} hosts and {len(numbers)} ports; give one port, or one for each")
    if not all(names):
        raise ValueError(f"server {names.index('') + 1} of the URL is empty")
    if len(numbers) < 2:
        numbers = (numbers or [DEFAULT_PORT]) * len(names)
    return tuple(Server(name, number) for name, number in zip(names, numbers, strict=True))


def _port(text: str, position: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= 65_535:
        raise ValueError(f"the port of server {position} of the URL is not a number from 1 to 65535. {_ENCODE}")
    return int(text)
