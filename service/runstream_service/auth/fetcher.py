"""Fetches documents of issuers over HTTP, with limits of time and size."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from runstream_service.errors.core import IssuerUnavailable

_WITHIN_S = 5.0
_MAX_BYTES = 1 << 20

# The token of its service account and the CA of the cluster, which Kubernetes puts into every pod.
POD_DIRECTORY = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# How a pod reaches the API server of its cluster.
API_SERVER = "kubernetes.default.svc"


class Fetcher:
    """Fetches documents from any server; HTTPS trusts the CAs of the system, or those of `verify`. Call `close` at the
    end."""

    def __init__(self, *, verify: ssl.SSLContext | bool = True) -> None:
        self.client = httpx2.AsyncClient(timeout=_WITHIN_S, verify=verify)

    async def fetch(self, url: str) -> Mapping[str, Any]:
        """The JSON object at a URL. Raises IssuerUnavailable."""
        return await self.ask("GET", url)

    async def ask(self, method: str, url: str, **options: Any) -> Mapping[str, Any]:
        """Makes a request with httpx's options, and returns the JSON object in its answer. Raises IssuerUnavailable."""
        try:
            async with self.client.stream(method, url, **options) as answer:
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _MAX_BYTES:
                        raise IssuerUnavailable(f"{url} sent more than {_MAX_BYTES:,} bytes")
                if answer.status_code != 200:
                    raise IssuerUnavailable(f"{url} answered with status {answer.status_code}")
            found = orjson.loads(body)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise IssuerUnavailable(f"{url} cannot be reached: {error or type(error).__name__}") from error
        except orjson.JSONDecodeError as error:
            raise IssuerUnavailable(f"{url} answered with something that is not JSON") from error
        if not isinstance(found, dict):
            raise IssuerUnavailable(f"{url} answered with JSON that is not an object")
        return found

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.aclose()


class ClusterFetcher(Fetcher):
    """Fetches like Fetcher; but from the API server of the cluster that this pod runs in, it fetches with the CA of the
    cluster and the token of the pod. That token is sent to no other server."""

    def __init__(self, directory: Path = POD_DIRECTORY, *, api_server: str = API_SERVER) -> None:
        super().__init__()
        self._directory = directory
        self._api_server = api_server
        self._cluster: Fetcher | None = None

    async def fetch(self, url: str) -> Mapping[str, Any]:
        """The JSON object at a URL. Raises IssuerUnavailable."""
        host = urlsplit(url).hostname or ""
        token = self._directory / "token"
        if not (host == self._api_server or host.startswith(f"{self._api_server}.")) or not token.exists():
            return await super().fetch(url)
        if self._cluster is None:
            ca = self._directory / "ca.crt"
            self._cluster = Fetcher(verify=ssl.create_default_context(cafile=ca) if ca.exists() else True)
        # Read each time, since Kubernetes replaces the token every hour or so; it has a kilobyte or two.
        headers = {"authorization": f"Bearer {token.read_text().strip()}"}
        return await self._cluster.ask("GET", url, headers=headers)

    async def close(self) -> None:
        """Closes the connections."""
        await super().close()
        if self._cluster is not None:
            await self._cluster.close()
