"""Applies the headers of trusted proxies: X-Forwarded-For, -Proto and -Host."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Forwarded:
    """ASGI middleware. It ignores these headers from anybody else: an attacker's web page could name an allowed
    Host."""

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[str]) -> None:
        self._app = app
        self._trusted = ProxyHeadersMiddleware(app, list(trusted_proxies))  # type: ignore[arg-type]  # uvicorn's types

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] != "http" or client is None:
            return await self._app(scope, receive, send)
        address = unmapped(client[0])
        if address not in self._trusted.trusted_hosts:
            return await self._app(scope, receive, send)
        scope["client"] = (address, client[1])
        host = Headers(scope=scope).get("x-forwarded-host", "").partition(",")[0].strip()
        if host:
            MutableHeaders(scope=scope)["host"] = host
        return await self._trusted(scope, receive, send)  # type: ignore[arg-type]


def unmapped(address: str) -> str:
    """An address, with an IPv4 address in its plain form: an IPv6 socket reports it as ::ffff:10.0.0.1."""
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return address
    return address if mapped is None else str(mapped)
