"""TLS handshakes, in the event loop that the service uses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from runstream_service.http.protocol import BoundedProtocol
from runstream_service.server import sockets
from runstream_service.server.sockets import HttpServer
from runstream_service.tls import connections
from runstream_service.tls.connections import HandshakeFailures, LiveContext
from runstream_service.tls.files import TlsFiles
from runstream_service.tls.metrics import OTHER, PLAINTEXT, REASONS, TlsMetrics
from runstream_service.tls.server_tls import load
from tests.support.authorities import Authority, SecretMount, trusting
from tests.support.polling import until

LONG = 20_000_000


async def application(scope: Scope, _receive: Receive, send: Send) -> None:
    body = b"x" * LONG if scope["path"] == "/long" else b""
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def context(tmp_path: Path, authority: Authority, registry: CollectorRegistry) -> LiveContext:
    mount = SecretMount(tmp_path / "tls")
    mount.put(authority.issue())
    files = TlsFiles(mount.directory / "tls.crt", mount.directory / "tls.key", None)
    return LiveContext.make(load(files).context, HandshakeFailures(TlsMetrics(registry)))


def server_with(context: LiveContext) -> HttpServer:
    config = uvicorn.Config(application, http=BoundedProtocol, log_config=None, lifespan="off", ws="none")
    return HttpServer(config, tls=context)


def on_a_server(context: LiveContext, test: Callable[[int, HttpServer], Awaitable[None]]) -> None:
    """Runs a test with the port of a server that uses the context, in the event loop of the service."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = server_with(context)
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            await until(lambda: server.started)
            try:
                await asyncio.wait_for(test(listener.getsockname()[1], server), 60)
            finally:
                server.should_exit = server.force_exit = True
                await serving

    uvloop.run(run())


async def get(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    with contextlib.closing(writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).strip()


def test_more_handshakes_than_a_bound_are_refused_until_others_have_ended(
    context: LiveContext, authority: Authority, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_HANDSHAKES", 3)

    async def test(port: int, _server: HttpServer) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await until(lambda: len(context._under_way) == 3)
        with pytest.raises(OSError, match=r"(?i)reset|eof|closed"):
            await get(port, trusting(authority))
        for _, writer in silent:
            writer.close()
        await until(lambda: len(context._under_way) == 0)
        for _ in range(5):
            assert await get(port, trusting(authority)) == b"HTTP/1.1 200 OK"
        assert len(context._under_way) == 0

    on_a_server(context, test)
    assert registry.get_sample_value("runstream_tls_handshakes_failed_total", {"reason": "too_many"}) == 1


def test_a_handshake_that_does_not_go_on_is_ended(context: LiveContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sockets._TLS_TIMEOUTS, "ssl_handshake_timeout", 0.2)

    async def test(port: int, _server: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            assert await reader.read() == b""

    on_a_server(context, test)


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 100])
def test_plaintext_to_a_tls_port_gets_a_message(
    context: LiveContext, registry: CollectorRegistry, content: bytes
) -> None:
    async def test(port: int, _server: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(content)
            assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"

    on_a_server(context, test)
    assert registry.get_sample_value("runstream_tls_handshakes_failed_total", {"reason": PLAINTEXT}) == 1


async def _ask(port: int, context: ssl.SSLContext, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1_024)
    writer.write(request)
    return reader, writer


def test_a_client_that_takes_a_long_answer_slowly_gets_all_of_it(context: LiveContext, authority: Authority) -> None:
    async def test(port: int, _server: HttpServer) -> None:
        request = b"GET /long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        reader, writer = await _ask(port, trusting(authority), request)
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            got = 0
            while piece := await reader.read(1 << 20):
                got += len(piece)
                await asyncio.sleep(0.001)
        assert got == LONG

    on_a_server(context, test)


def test_a_client_that_takes_no_answer_is_disconnected(
    context: LiveContext, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstream_service.http.protocol.RESPONSE_IDLE_S", 0.2)

    async def test(port: int, server: HttpServer) -> None:
        reader, writer = await _ask(port, trusting(authority), b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            await until(lambda: not server.server_state.connections)

    on_a_server(context, test)


def test_clients_with_idle_connections_do_not_delay_the_end(context: LiveContext, authority: Authority) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = server_with(context)
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            await until(lambda: server.started)
            ready = await asyncio.to_thread(_idle, listener.getsockname()[1], trusting(authority))
            with contextlib.closing(ready):
                server.should_exit = True
                await asyncio.wait_for(serving, 5)

    uvloop.run(run())


def _idle(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection that was used, is kept open, and is not read."""
    kept = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
    kept.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert kept.recv(1_000).startswith(b"HTTP/1.1 200 OK")
    return kept


def test_one_failure_a_minute_is_logged_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("runstream_service.tls.connections.time.monotonic", lambda: now)
    registry = CollectorRegistry()
    failures = HandshakeFailures(TlsMetrics(registry))
    with capture_logs() as logged:
        for _ in range(5):
            failures.add(PLAINTEXT)
        failures.add(OTHER, "BAD_PACKET")
        now += 61
        failures.add(PLAINTEXT)
    assert [(one["reason"], one["count_since_last"]) for one in logged] == [(PLAINTEXT, 1), (OTHER, 1), (PLAINTEXT, 5)]
    assert registry.get_sample_value("runstream_tls_handshakes_failed_total", {"reason": PLAINTEXT}) == 6


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_says_what_it_means(reason: str) -> None:
    with capture_logs() as logged:
        HandshakeFailures(TlsMetrics(CollectorRegistry())).add(reason)
    assert len(logged[0]["event"]) > 40
