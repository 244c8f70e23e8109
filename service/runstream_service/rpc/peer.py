"""The address of the client of an RPC."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import grpc
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from runstream_service.http.forwarded import unmapped

# gRPC's form: ipv4:10.0.0.1:50000, or ipv6:[::1]:50000 with the brackets percent-encoded, or unix:.
_PEER = re.compile(r"ipv[46]:\[?([^\]%]+?)(?:%[^\]]*)?\]?:[0-9]+")
_FORWARDED_FOR = "x-forwarded-for"


class Peers:
    """Finds the addresses of clients. As over HTTP, a trusted proxy names its client in x-forwarded-for."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        # The same rules as over HTTP for whom to trust; the middleware's application is never called.
        unused: Any = None
        self._trusted = ProxyHeadersMiddleware(unused, list(trusted_proxies)).trusted_hosts

    def address_of(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The IP address of the client; `local` over a Unix socket."""
        found = _PEER.fullmatch(unquote(context.peer() or ""))
        if found is None:
            return "local"
        address = unmapped(found[1])
        if address not in self._trusted:
            return address
        forwarded = [
            str(value) for key, value in context.invocation_metadata() or () if key == _FORWARDED_FOR and value
        ]
        client, _ = self._trusted.get_trusted_client_address(",".join(forwarded))
        return client if _is_address(client) else address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
