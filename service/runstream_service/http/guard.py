"""Protects against web pages of attackers that make a browser send requests to this service.

There is no authentication yet, so two things are checked, as MLflow's server does.
DNS rebinding: the name of an attacker's page suddenly resolves to this machine. Its requests carry that name as their
Host. Allowed are addresses, localhost, names without a dot, names that no public DNS server resolves, and those of
--allowed-hosts.
Cross-origin requests: requests from an attacker's page that change something carry its Origin, which is not the Host.
"""

from __future__ import annotations

import fnmatch
import functools
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runstream_service.http.pages import OPEN_PATHS
from runstream_service.http.paths import route_path

# Names reserved for private networks (RFC 6762, RFC 8375, RFC 9476 and ICANN's .internal), and of Kubernetes services.
_PRIVATE = (".localhost", ".local", ".internal", ".home.arpa", ".alt", ".svc", ".cluster.local")
# A name in DNS has at most 253 characters; a scheme and a port come in addition.
_LONGEST = 300
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


class Guard:
    """ASGI middleware: refuses requests with a foreign Host, and cross-origin requests that change something."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self._app = app
        self._allowed = [
            *(host.lower().rstrip(".") for host in allowed_hosts),
            socket.gethostname().lower(),
            socket.getfqdn().lower(),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        problem = self._problem(scope, Headers(scope=scope))
        if problem:
            return await PlainTextResponse(problem, 403)(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("x-frame-options", "SAMEORIGIN")
            await send(message)

        return await self._app(scope, receive, with_headers)

    def _problem(self, scope: Scope, headers: Headers) -> str:
        host = headers.get("host", "")
        if route_path(scope) not in OPEN_PATHS and not self._is_ours(_name(f"//{host}")):
            return (
                "Invalid Host header - possible DNS rebinding attack detected. If this is a name of this service, add "
                "it to --allowed-hosts (RUNSTREAM_ALLOWED_HOSTS)."
            )
        origin = headers.get("origin")
        if origin is None or scope["method"] not in _CHANGING:
            return ""
        name = _name(origin)
        if name == _name(f"//{host}") or _is_this_machine(name) or self._is_allowed(name):
            return ""
        return (
            f"Cross-origin request blocked: it comes from a page of {origin[:200]!r}, and was sent to {host[:200]!r}. "
            "If both are names of this service, let the proxy in between pass on the original Host; or add the first "
            "to --allowed-hosts (RUNSTREAM_ALLOWED_HOSTS); or add the proxy to --trusted-proxies "
            "(RUNSTREAM_TRUSTED_PROXIES) if it sends X-Forwarded-Host."
        )

    def _is_ours(self, name: str) -> bool:
        return "." not in name or _is_address(name) or name.endswith(_PRIVATE) or self._is_allowed(name)

    def _is_allowed(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._allowed)


def _name(url: str) -> str:
    """The host of a URL without its port; empty if there is none, as in `Origin: null`."""
    return _name_of(url) if len(url) <= _LONGEST else "."  # equals no name


@functools.lru_cache(maxsize=1_024)
def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "."  # equals no name


@functools.lru_cache(maxsize=1_024)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_this_machine(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
