"""Passes requests on to the service, and waits while it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import orjson
from starlette.responses import Response, StreamingResponse
from yarl import URL

from runstream._backoff import Backoff
from runstream._endpoint import TlsFiles
from runstream._repetition import Repetition
from runstream._tls_probe import context_of
from runstream_service.concurrency.deadlines import Deadline
from runstream_service.errors.core import CoreError, Forbidden, RunDeleted, RunNotFound, Unauthenticated
from runstream_service.http.callers import known_caller_of
from runstream_service.mlflow_port.callers import PortCaller, port_caller
from runstream_service.mlflow_port.sink import ServiceAway

if TYPE_CHECKING:
    from starlette.requests import Request

# How long a request waits for the service. MLflow's clients give up a request after 120 s, and then repeat it.
PATIENCE_S = 60.0
_LOOKUP_S = 5.0
_CONNECT_S, _SILENT_S = 5.0, 110.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_CHUNK_BYTES = 256 << 10
# Headers of one connection (RFC 9110, 7.6.1); the other side sets its own.
_OF_CONNECTION = frozenset(
    ("connection", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)


_REFUSED: Mapping[int, type[CoreError]] = {401: Unauthenticated, 403: Forbidden}


class Upstream:
    """A client of the service over HTTP. Belongs to one event loop."""

    def __init__(self, url: str, tls: TlsFiles) -> None:
        """Raises CannotDial if the TLS files cannot be used."""
        self._url = url
        self._repetition = Repetition()
        # Bodies are passed on as they are, compressed or not. Proxies of the environment are not for the service.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context_of(tls)) if url.startswith("https://") else None,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def pass_on(self, request: Request, deadline: Deadline, body: bytes | None = None) -> Response:
        """The service's response to a request, whose body is `body` if it was read already.

        Raises ServiceAway if the service cannot be reached until the deadline."""
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            try:
                return await self._try(request, body)
            except aiohttp.ClientConnectorError as error:
                # Nothing of the request was sent, so it can be sent again, whatever it does.
                pause_s = backoff.next_s()
                if deadline.left_s() <= pause_s:
                    raise self._away(error) from error
                self._report(error)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise self._away(error) from error
            await asyncio.sleep(pause_s)

    async def params_of(self, caller: PortCaller, run_id: str) -> Mapping[str, str]:
        """The params of a run. Raises RunNotFound, RunDeleted, Unauthenticated, Forbidden, ServiceAway."""
        url = f"{self._url}/api/2.0/mlflow/runs/get?run_id={quote(run_id)}"
        try:
            timeout = aiohttp.ClientTimeout(total=_LOOKUP_S)
            async with self._session.get(url, headers=caller.headers({}), timeout=timeout) as answer:
                status, content = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._away(error) from error
        if status == 404:
            raise RunNotFound(f"there is no run {run_id}", subject=run_id)
        if status in _REFUSED:
            raise _REFUSED[status](_message(content))
        if status != 200:
            raise ServiceAway(f"The service at {self._url} responds with status {status}. Try again later.")
        return _params(run_id, content)

    async def _try(self, request: Request, body: bytes | None) -> Response:
        path = request.scope.get("raw_path") or request.url.path.encode()
        query = request.scope["query_string"]
        target = self._url + path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        headers = [(name, value) for name, value in request.headers.items() if name not in _OF_CONNECTION]
        caller = known_caller_of(request.scope)  # None on public paths
        if caller is not None:
            headers += port_caller(caller).headers(request.headers).items()
        answer = await self._session.request(
            request.method,
            URL(target, encoded=True),
            headers=headers,
            data=_body_of(request) if body is None else body,
            allow_redirects=False,
        )
        response = StreamingResponse(_chunks(answer), answer.status)
        response.raw_headers = [
            (name, value) for name, value in answer.raw_headers if name.decode().lower() not in _OF_CONNECTION
        ]
        return response

    def _report(self, error: BaseException) -> None:
        """Reports in the agent's log, once a minute, that requests wait; the script shows nothing until it gives up."""
        if self._repetition.is_due("away"):
            logging.getLogger("runstream_agent").warning(
                "a request of MLflow's API waits for the service at %s (%s). If the address is wrong, set "
                "RUNSTREAM_MLFLOW_HTTP_ADDRESS",
                self._url,
                error or type(error).__name__,
            )

    def _away(self, error: BaseException) -> ServiceAway:
        self._report(error)
        return ServiceAway(
            f"The service at {self._url} cannot be reached ({error or type(error).__name__}). What was logged is "
            "stored on disk, and is sent as soon as it can be."
        )


def _body_of(request: Request) -> AsyncIterator[bytes] | None:
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    return request.stream() if has_body else None


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            yield chunk


def _message(content: bytes) -> str:
    try:
        return str(orjson.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return "the service refuses the token of this request"


def _params(run_id: str, content: bytes) -> Mapping[str, str]:
    try:
        run = orjson.loads(content)["run"]
        if run["info"].get("lifecycle_stage") == "deleted":
            raise RunDeleted(f"run {run_id} is deleted", subject=run_id)
        return {param["key"]: param["value"] for param in run["data"].get("params", [])}
    except CoreError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ServiceAway(
            f"The response to GET runs/get is not one of runstream ({error!r}). Check the address of the service."
        ) from error
