"""The limits of connections and requests, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from runstream_service.errors.core import Overloaded
from runstream_service.http import protocol
from runstream_service.http.admission import Admission
from runstream_service.http.bodies import Bodies
from runstream_service.http.mlflow_errors import error_response
from runstream_service.http.protocol import BoundedProtocol
from runstream_service.server.sockets import HttpServer
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess


@pytest.fixture(scope="module")
def service() -> Iterator[ServeProcess]:
    with short_directory() as directory, ServeProcess(directory) as serve:
        yield serve


def said(service: ServeProcess, content: bytes) -> bytes:
    """Everything that is received until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", urlsplit(service.http_url).port or 0), timeout=60) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(content)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65_536):
                answer += more
        return answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 2_000_000,
        b"GET /healthz HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 20_000,
        b"GET /" + b"a" * 2_000_000,
    ],
    ids=["a long URL", "a header without an end", "headers without an end", "a URL without an end"],
)
def test_a_head_that_is_too_long_is_refused_before_it_ends(service: ServeProcess, head: bytes) -> None:
    answer = said(service, head)
    # The end of the connection may overtake the answer, as the service does not read the rest of what is sent.
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


# -- with short times, in this process ---------------------------------------------------------------------------------


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body; answers with its length, or with as many bytes as the path says."""
    assert scope["type"] == "http"
    request = Request(scope, receive)
    body = await request.body()
    length = scope["path"].strip("/")
    answer: Response = PlainTextResponse(b"x" * int(length) if length.isdigit() else str(len(body)))
    await answer(scope, receive, send)


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def port(listener: socket.socket, server: HttpServer) -> int:
    """The port of the server."""
    return int(listener.getsockname()[1])


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> AsyncIterator[HttpServer]:
    for name in ("HEAD_S", "BODY_IDLE_S", "RESPONSE_IDLE_S"):
        monkeypatch.setattr(protocol, name, 0.3)
    config = uvicorn.Config(application, http=BoundedProtocol, log_config=None, lifespan="off", ws="none")
    running = HttpServer(config)
    serving = asyncio.ensure_future(running.serve(sockets=[listener]))
    yield running
    running.should_exit = running.force_exit = True
    await serving


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GET /x HTTP/1.1\r\nHost: loc",
        b"POST /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half of the chunks"],
)
async def test_a_client_that_stops_in_the_middle_is_told_so_and_disconnected(port: int, content: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    answer = await asyncio.wait_for(reader.read(), 30)
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_client_that_takes_no_answer_is_disconnected(server: HttpServer, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    writer.write(b"GET /50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readexactly(10)
    give_up = asyncio.get_running_loop().time() + 60
    while server.server_state.connections:
        assert asyncio.get_running_loop().time() < give_up
        await asyncio.sleep(0.05)
    writer.close()


async def test_the_end_of_a_long_body_does_not_count_as_the_head_that_follows_it(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /x HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000 + b"GET /5 HTTP/1.1\r\nHo")
    assert (await reader.readuntil(b"100000")).startswith(b"HTTP/1.1 200 ")
    writer.write(b"st: localhost\r\n\r\n")
    assert (await reader.readuntil(b"xxxxx")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_request_in_time_and_one_more_on_the_same_connection_are_answered(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in (b"abc", b"x" * 300_000):
        writer.write(b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(len(str(len(body)))) == str(len(body)).encode()
    writer.close()


# -- without sockets ---------------------------------------------------------------------------------------------------


async def ask(app: Admission, path: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return sent


async def test_one_request_too_many_is_told_when_to_retry_and_probes_are_answered() -> None:
    released = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await released.wait()
        await PlainTextResponse("fine")(scope, receive, send)

    app = Admission(slow, max_requests=2)
    under_way = [asyncio.ensure_future(ask(app, "/slow")) for _ in range(2)]
    await asyncio.sleep(0)
    refused = (await ask(app, "/api/2.0/mlflow/runs/get"))[0]
    assert (refused["status"], dict(refused["headers"])[b"retry-after"]) == (429, b"1")
    assert (await ask(app, "/healthz"))[0]["status"] == 200
    released.set()
    assert [sent[0]["status"] for sent in await asyncio.gather(*under_way)] == [200, 200]
    assert (await ask(app, "/api/2.0/mlflow/runs/get"))[0]["status"] == 200


def request_of(*chunks: bytes) -> Request:
    waiting = list(chunks)

    async def receive() -> Any:
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_bodies_of_all_requests_have_one_bound_and_give_their_bytes_back() -> None:
    bodies = Bodies(max_bytes=10)
    async with bodies.counted(request_of(b"12345", b"678")) as first:
        assert await first.body() == b"12345678"
        async with bodies.counted(request_of(b"1", b"2", b"3")) as second:
            with pytest.raises(Overloaded) as refusal:
                await second.body()
        assert error_response(refusal.value).status_code == 429
    async with bodies.counted(request_of(b"1234567890")) as third:
        assert len(await third.body()) == 10
