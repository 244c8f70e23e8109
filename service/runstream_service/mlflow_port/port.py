"""The server of the port. It runs in a thread of the agent, with its own event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive

from runstream_service.concurrency.deadlines import Deadline
from runstream_service.http.authentication import Authenticate
from runstream_service.http.bodies import Bodies
from runstream_service.http.callers import known_caller_of
from runstream_service.http.origin_check import HostAndOriginCheck
from runstream_service.http.paths import MLFLOW_PREFIXES
from runstream_service.http.protocol import BoundedProtocol
from runstream_service.http.safe_headers import SafeHeaders
from runstream_service.mlflow.endpoints import endpoint_of, guarded
from runstream_service.mlflow.request import read_body
from runstream_service.mlflow.route_kinds import JsonRoute, RawHandler, RawRoute
from runstream_service.mlflow.run_writes import WriteHandlers, writes
from runstream_service.mlflow_port.callers import PortAuthenticator, port_caller
from runstream_service.mlflow_port.journals import SyncedJournals
from runstream_service.mlflow_port.sink import JournalSink, NeedsService, ServiceAway
from runstream_service.mlflow_port.upstream import PATIENCE_S, Upstream

if TYPE_CHECKING:
    from runstream._endpoint import Endpoint
    from runstream.journal import Directory

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# Requests for files do not depend on what is in the journals, so they are passed on without waiting for them.
_FILE_PATHS = ("/mlflow-artifacts/", "/get-artifact", "/static-files/")
# These requests may delete or restore a run.
_CHANGES_RUNS = ("/runs/delete", "/runs/restore", "/experiments/delete", "/experiments/restore")
_START_S = 10.0


class MlflowPort:
    """Listens from `start` until `stop`. Implements Companion of the agent."""

    def __init__(self, directory: Directory, *, listen: tuple[str, int], endpoint: Endpoint, http_url: str) -> None:
        """`endpoint` and `http_url` are the service over gRPC and over HTTP; `endpoint` has the agent's credentials."""
        self._directory = directory
        self._listen = listen
        self._endpoint = endpoint
        self._http_url = http_url
        self.url = ""  # where it listens, after `start`
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns when it listens; `url` says where. Raises OSError if it cannot listen on the address."""
        host, port = self._listen
        try:
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{port} for MLflow: {error.strerror or error}") from error
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(listener, started), name="mlflow-port", daemon=True)
        self._thread.start()
        started.result(_START_S)
        # The agent's own logger, which writes to agent.log and to the terminal.
        logging.getLogger("runstream_agent").info("MLflow's API is at port %d", listener.getsockname()[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

    def stop(self) -> None:
        """Finishes the requests that are under way, ends the journals, and returns."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()

    def _run(self, listener: socket.socket, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(listener, started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        upstream = Upstream(self._http_url, self._endpoint.tls)
        journals = SyncedJournals(self._directory, self._endpoint)
        try:
            # Everybody who can reach the port may use it; the service checks the credentials of what it receives.
            app = Authenticate(Starlette(routes=routes(journals, upstream)), PortAuthenticator(self._endpoint))
            config = uvicorn.Config(
                SafeHeaders(HostAndOriginCheck(app, allowed_hosts=())),
                http=BoundedProtocol,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=2,
            )
            self._server = uvicorn.Server(config)
            started.set_result(None)
            await self._server.serve(sockets=[listener])
        finally:
            await upstream.close()
            await asyncio.to_thread(journals.close)


def routes(journals: SyncedJournals, upstream: Upstream) -> list[BaseRoute]:
    """The routes: requests that log something write to the journals; all others are passed on to the service."""
    sink = JournalSink(journals, upstream)
    bodies = Bodies()
    logged = [
        Route(f"{prefix}/{entry.path}", endpoint_of(_or_service(entry, upstream), bodies), methods=[entry.method])
        for entry in writes(WriteHandlers(sink))
        for prefix in MLFLOW_PREFIXES
    ]
    rest = Route("/{path:path}", guarded(_passing(journals, upstream, sink)), methods=_METHODS)
    return [*logged, rest]


def _or_service(entry: JsonRoute | RawRoute, upstream: Upstream) -> JsonRoute | RawRoute:
    """The same route, except that requests that a journal cannot take are passed on to the service."""
    if isinstance(entry, JsonRoute):
        return entry
    handler = entry.handler

    async def either(request: Request) -> Response:
        body = await read_body(request)
        try:
            return await handler(Request(request.scope, _receiving(body)))
        except NeedsService:
            return await upstream.pass_on(request, Deadline(PATIENCE_S), body)

    return RawRoute(entry.method, entry.path, entry.role, either)


def _passing(journals: SyncedJournals, upstream: Upstream, sink: JournalSink) -> RawHandler:
    async def passed(request: Request) -> Response:
        deadline, path = Deadline(PATIENCE_S), request.url.path
        caller = known_caller_of(request.scope)
        needs_writes = caller is not None and not _has_any(path, _FILE_PATHS)
        if needs_writes and not await journals.flush(port_caller(caller), deadline):
            raise ServiceAway(
                "What was logged has not reached the service yet, so the response would lack it. It is stored on "
                "disk, and is sent as soon as the service can be reached. Try again later."
            )
        response = await upstream.pass_on(request, deadline)
        if _has_any(path, _CHANGES_RUNS):
            sink.forget()
        return response

    return passed


def _has_any(path: str, parts: Sequence[str]) -> bool:
    return any(part in path for part in parts)


def _receiving(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
