"""What becomes of handshakes, in the event loop that the service runs in."""

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
from runstream_service.server import listening
from runstream_service.server.listening import HttpServer
from runstream_service.tls import handshakes
from runstream_service.tls.files import TlsFiles
from runstream_service.tls.handshakes import HandshakeFailures, LiveContext
from runstream_service.tls.metrics import OTHER, PLAINTEXT, REASONS, TlsMetrics
from runstream_service.tls.server_tls import load
from tests.support.authorities import Authority, SecretMount, trusting
from tests.support.polling import until


async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


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


def on_a_server(context: LiveContext, test: Callable[[int], Awaitable[None]]) -> None:
    """Runs a test with the port of a server that uses the context."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(application, http=BoundedProtocol, log_config=None, lifespan="off", ws="none")
            server = HttpServer(config, tls=context)
            serving = asyncio.ensure_future(server.serve(sockets=[listener]))
            await until(lambda: server.started)
            try:
                await asyncio.wait_for(test(listener.getsockname()[1]), 60)
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
    monkeypatch.setattr(handshakes, "MAX_HANDSHAKES", 3)

    async def test(port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await until(lambda: len(context._under_way) == 3)
        with pytest.raises(OSError, match=r"(?i)reset|eof|closed"):
            await get(port, trusting(authority))
        for _, writer in silent:
            writer.close()
        await until(lambda: len(context._under_way) == 0)
        for _ in range(5):
            assert await get(port, trusting(authority)) == b"HTTP/1.1 204 No Content"
        assert len(context._under_way) == 0

    on_a_server(context, test)
    assert registry.get_sample_value("runstream_tls_handshakes_failed_total", {"reason": "too_many"}) == 1


def test_a_handshake_that_does_not_go_on_is_ended(context: LiveContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HANDSHAKE_S", 0.2)

    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            assert await reader.read() == b""

    on_a_server(context, test)


@pytest.mark.parametrize("content", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 100])
def test_something_else_than_tls_is_told_so(context: LiveContext, registry: CollectorRegistry, content: bytes) -> None:
    async def test(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(content)
            assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"

    on_a_server(context, test)
    assert registry.get_sample_value("runstream_tls_handshakes_failed_total", {"reason": PLAINTEXT}) == 1


def test_one_failure_a_minute_is_logged_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("runstream_service.tls.handshakes.time.monotonic", lambda: now)
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
