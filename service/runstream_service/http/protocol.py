"""uvicorn's HTTP protocol with one write per response, and with bounds that uvicorn lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Longer parts are not copied to be joined, but sent at once.
_JOINED_BYTES = 16_384

# A connection holds the head of a request in memory, and the part of its body that was not read yet.
MAX_CONNECTIONS = 4_096
MAX_HEAD_BYTES = 64 << 10
# A connection is closed when it takes longer than this from the connection, or from the first byte of a later request,
# to the end of the request's head.
HEAD_S = 20.0
# The same for a body that the service waits for: without any byte of it, and for the whole. Uploads of files may pause
# for longer and have no limit: mlflow/transfers.py marks them with PATIENT, and ends them itself.
BODY_IDLE_S, BODY_S = 60.0, 600.0
# The same for a client that takes no byte of a response.
RESPONSE_IDLE_S = 120.0
PATIENT = "runstream.patient"
# The first byte of every connection with TLS, and of no request.
_TLS_HANDSHAKE = 0x16


class BoundedProtocol(HttpToolsProtocol):
    """Sends the head and the body of a short response together. uvloop sends each write at once, so otherwise the two
    would be separate packets, and the client would wake up twice.

    Refuses heads longer than MAX_HEAD_BYTES, and connections above MAX_CONNECTIONS. `close_stuck` closes connections
    that are stuck."""

    _is_new = True  # nothing was received yet
    _in_head = True
    _body_ended = False
    _head_bytes = 0
    _head_since = _body_since = _heard_at = _written_at = 0.0
    _unwritten = 0

    def __init__(self, *arguments: Any, on_tls_hello: Callable[[str], None] | None = None, **named: Any) -> None:
        """`on_tls_hello` is called with the address of a client that begins TLS on a port, or inside a connection,
        where plain HTTP is expected."""
        super().__init__(*arguments, **named)
        self._on_tls_hello = on_tls_hello

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was made."""
        coalescing = CoalescingTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", coalescing))
        self._head_since = self._heard_at = self._written_at = self.loop.time()
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(b"429 Too Many Requests", b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        """Some bytes arrived."""
        self._heard_at = self.loop.time()
        if self._is_new and data[0] == _TLS_HANDSHAKE:
            self._refuse_tls()
        self._is_new = False
        for start in range(0, len(data), MAX_HEAD_BYTES):
            if self.transport.is_closing():
                return
            self._parse(data[start : start + MAX_HEAD_BYTES])

    def _refuse_tls(self) -> None:
        if self._on_tls_hello is not None:
            self._on_tls_hello(self.client[0] if self.client else "")
        # A TLS client reports any answer in plaintext as "wrong version number": there is no TLS here.
        self._refuse(b"400 Bad Request")

    def _parse(self, data: bytes) -> None:
        self._body_ended = False
        super().data_received(data)
        # If the body of the previous request ended in this data, it is not known how much of it belongs to the new
        # head. Such a part is not counted, so a head may be up to twice as long as allowed.
        if self._in_head and not self._body_ended and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """The first byte of a request arrived."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._head_since = True, 0, self.loop.time()

    def on_headers_complete(self) -> None:
        """The whole head of the request arrived."""
        self._in_head, self._body_since = False, self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request arrived."""
        self._body_ended = True
        super().on_message_complete()

    def close_if_stuck(self, now: float) -> None:
        """Closes the connection if its client does not send the rest of its request, or does not read the response.
        `now` is the time of the event loop, in seconds."""
        if self._reads_no_response(now):
            self.transport.abort()
        elif not self.transport.is_closing() and self._sends_no_request(now):
            self._refuse(b"408 Request Timeout")

    def _reads_no_response(self, now: float) -> bool:
        unwritten = self.transport.get_write_buffer_size()
        if not unwritten or unwritten != self._unwritten:
            self._unwritten, self._written_at = unwritten, now
        return now - self._written_at > RESPONSE_IDLE_S

    def _sends_no_request(self, now: float) -> bool:
        if self._in_head:
            return now - self._head_since > HEAD_S
        cycle = self.cycle
        # Otherwise it is the client that waits: the service does not read, or has not answered `Expect: 100-continue`.
        is_awaited = cycle.more_body and not self.flow.read_paused and not cycle.waiting_for_100_continue
        if not is_awaited or self.scope.get(PATIENT):
            return False
        return now - self._heard_at > BODY_IDLE_S or now - self._body_since > BODY_S

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(b"HTTP/1.1 %b\r\n%bcontent-length: 0\r\nconnection: close\r\n\r\n" % (status, headers))
        self.transport.close()


def close_stuck(connections: Iterable[object], now: float) -> None:
    """Closes the connections that are stuck; to be called every few seconds, with the time of the event loop."""
    for connection in list(connections):
        if isinstance(connection, BoundedProtocol):
            connection.close_if_stuck(now)


class CoalescingTransport:
    """Wraps a transport and joins two consecutive writes into one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept: bytes | memoryview = b""

    def write(self, data: bytes | memoryview) -> None:
        """Send together with the next write, or in the next iteration of the event loop."""
        if self._kept:
            self._flush(data)
        elif len(data) > _JOINED_BYTES:
            self._transport.write(data)
        else:
            self._kept = data
            self._loop.call_soon(self._flush)

    def writelines(self, parts: Iterable[bytes | memoryview]) -> None:
        """Send several parts, after what earlier writes have left."""
        for part in parts:
            self.write(part)

    def close(self) -> None:
        """Close when everything is sent."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Close this side of the connection when everything is sent."""
        self._flush()
        self._transport.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self, more: bytes | memoryview = b"") -> None:
        kept, self._kept = self._kept, b""
        if len(more) > _JOINED_BYTES:
            self._transport.writelines((kept, more))
        elif kept:
            self._transport.write(b"".join((kept, more)))
