"""Protects against web pages of attackers that make a browser send requests to this service.

A browser attaches some credentials to every request, no matter which page makes it send the request; and a page reaches
every address that its visitor reaches. There are two checks:

- Host, against DNS rebinding: the name of an attacker's page suddenly resolves to this machine. Its requests have that
  name as their Host, and the browser considers them same-origin. Allowed are addresses, localhost, names without a dot,
  names that no public DNS server resolves, and those of --allowed-hosts.
- Origin: requests from an attacker's page that change something have the Origin of that page, which is not the Host.

Which of them are needed depends on what showed who sent the request (`Proof`):

- Nothing (authentication is off, or the path is public): everybody who reaches the port is let in, so the port is the
  only protection. Both checks.
- The cookie of a session: the browser attaches it. SameSite=Lax keeps it from requests of other sites, but other ports
  and other names of the same domain are the same site. Both checks, the second one strictly: a request that changes
  something has to show that it comes from a page of this service. Today's browsers all send Sec-Fetch-Site or Origin
  with it; what sends neither is a script, which should use a token.
- Basic: browsers remember a password, such as that of a tracking URI that somebody opened, and attach it. Scripts use
  Basic as well, and send no Origin. A request that changes something is refused if it comes from a foreign page.
- Bearer: browsers never attach it automatically. Only a page that has the token can send it, and such a page does not
  need a visitor's browser. (A page of another origin would need permission by CORS, which is never granted.) No check.
- The form for signing in: an attacker's page could sign its visitor in with the attacker's token, and would see
  everything that the visitor logs from then on. The same strict check as for a cookie.
"""

from __future__ import annotations

import fnmatch
import functools
import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runstream_service.errors.core import Forbidden
from runstream_service.http.callers import Proof, proof_of
from runstream_service.http.pages import OPEN_PATHS
from runstream_service.http.paths import SERVER_INFO_PATHS, is_web_api, route_path
from runstream_service.http.refusals import refused
from runstream_service.http.sign_in_paths import COMMAND_LINE_TOKEN, SIGN_IN_PATHS

# Names reserved for private networks (RFC 6762, RFC 8375, RFC 9476 and ICANN's .internal), and of Kubernetes services.
_PRIVATE = (".localhost", ".local", ".internal", ".home.arpa", ".alt", ".svc", ".cluster.local")
# A name in DNS has at most 253 characters; a scheme and a port come in addition.
_LONGEST = 300
_PORTS = {"http": 80, "https": 443}
_ANY_HOST = frozenset((*OPEN_PATHS, *SERVER_INFO_PATHS, COMMAND_LINE_TOKEN))
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


class HostAndOriginCheck:
    """ASGI middleware: refuses requests with a foreign Host, and cross-origin requests that change something. It runs
    after authentication."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self._app = app
        self._public = [host.lower().rstrip(".") for host in allowed_hosts]
        self._allowed = [*self._public, socket.gethostname().lower(), socket.getfqdn().lower()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope, Headers(scope=scope)) if scope["type"] == "http" else ""
        if problem:
            answer = refused(scope, Forbidden(problem)) if is_web_api(scope) else PlainTextResponse(problem, 403)
            return await answer(scope, receive, send)
        return await self._app(scope, receive, send)

    def _problem(self, scope: Scope, headers: Headers) -> str:
        proof, path = proof_of(scope), route_path(scope)
        if proof is Proof.BEARER:
            return ""
        host = headers.get("host", "")
        if proof is not Proof.BASIC and path not in _ANY_HOST and not self._is_own_name(_name(f"//{host}")):
            return (
                "Invalid Host header - possible DNS rebinding attack detected. If this is a name of this service, add "
                "it to --allowed-hosts (RUNSTREAM_ALLOWED_HOSTS)."
            )
        if scope["method"] not in _CHANGING:
            return ""
        origin = headers.get("origin", "")
        is_strict = proof is Proof.COOKIE or path in SIGN_IN_PATHS
        is_allowed = (
            self._is_from_own_page(headers, origin, host)
            if is_strict
            else self._may_be_from_own_page(proof, headers, origin, host)
        )
        if is_allowed:
            return ""
        if not origin:
            return (
                "Cross-origin request blocked: it does not show that it comes from a page of this service. Scripts use "
                "a token, in the header Authorization, instead of a browser's cookie."
            )
        return (
            f"Cross-origin request blocked: it comes from a page of {origin[:200]!r}, and was sent to {host[:200]!r}. "
            "If both are names of this service, let the proxy in between pass on the original Host; or add the first "
            "to --allowed-hosts (RUNSTREAM_ALLOWED_HOSTS); or add the proxy to --trusted-proxies "
            "(RUNSTREAM_TRUSTED_PROXIES) if it sends X-Forwarded-Host."
        )

    def _is_from_own_page(self, headers: Headers, origin: str, host: str) -> bool:
        """Whether a request shows that it comes from a page of this service, or that a person typed its address."""
        site = headers.get("sec-fetch-site")  # not sent over plain HTTP, except to this machine
        if site is not None:
            return site in ("same-origin", "none")
        return bool(origin) and (_is_same(origin, host) or _matches(_name(origin), self._public))

    def _may_be_from_own_page(self, proof: Proof, headers: Headers, origin: str, host: str) -> bool:
        """Whether nothing shows that a request comes from a foreign page."""
        if proof is Proof.BASIC and "sec-fetch-site" in headers:
            return self._is_from_own_page(headers, origin, host)
        name = _name(origin)
        return not origin or name == _name(f"//{host}") or _is_this_machine(name) or self._is_allowed(name)

    def _is_own_name(self, name: str) -> bool:
        return "." not in name or _is_address(name) or name.endswith(_PRIVATE) or self._is_allowed(name)

    def _is_allowed(self, name: str) -> bool:
        return _matches(name, self._allowed)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _name(url: str) -> str:
    """The host of a URL without its port; empty if there is none, as in `Origin: null`."""
    return _name_of(url) if len(url) <= _LONGEST else "."  # equals no name


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin has the name and the port of a Host. (Its scheme may be that of a proxy, so it is ignored.)"""
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        usual = _PORTS.get(theirs.scheme)
        return _name(f"//{host}") == _name(origin) != "" and (ours.port or usual) == (theirs.port or usual)
    except ValueError:  # a port that is no number
        return False


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
