"""uvicorn's HTTP protocol with one write per answer, and with bounds that uvicorn lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Longer parts are not copied to be joined, but sent at once.
_JOINED_BYTES = 16_384

# A connection holds the head of a request, and the part of its body that was not read yet.
MAX_CONNECTIONS = 4_096
MAX_HEAD_BYTES = 64 << 10
# Most seconds from the connection, or from the first byte of a later request, to the end of its head.
HEAD_S = 20.0
# Most seconds without a byte of a body that the service waits for, and for the whole body. Uploads of files may pause
# for longer, and have no limit: `transfers.py` marks them as patient, and ends them itself.
BODY_IDLE_S, BODY_S = 60.0, 600.0
# Most seconds in which the client takes no byte of an answer.
ANSWER_IDLE_S = 120.0
PATIENT = "runstream.patient"
# The first byte of every connection with TLS, and of no request.
_TLS_HANDSHAKE = 0x16


class BoundedProtocol(HttpToolsProtocol):
    """Sends the head and the body of a short answer together. uvloop writes everything at once, so otherwise each of
    the two is a packet of its own, and wakes up the caller.

    Refuses heads that are too long, and connections above a number. `close_stuck` closes connections that are stuck.
    """

    _is_new = True  # nothing was received yet
    _in_head = True
    _body_ended = False
    _head_bytes = 0
    _head_since = _body_since = _heard_at = _written_at = 0.0
    _unwritten = 0

    def __init__(self, *arguments: Any, on_tls_hello: Callable[[str], None] | None = None, **named: Any) -> None:
        """`on_tls_hello` gets the address of a client that speaks TLS, of which this protocol sees only the inside."""
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
        # To the client, any answer in plaintext means "no TLS here" (wrong version number).
        self._refuse(b"400 Bad Request")

    def _parse(self, data: bytes) -> None:
        self._body_ended = False
        super().data_received(data)
        # How much of the data is of the head is not known when the body of the request before ended in it, too. Such a
        # part is not counted, so a head may be as long again as it should.
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
        """The last byte of a request came."""
        self._body_ended = True
        super().on_message_complete()

    def close_if_stuck(self, now: float) -> None:
        """Closes the connection if its client neither sends the rest of its request nor takes its answer."""
        if self._takes_no_answer(now):
            self.transport.abort()
        elif not self.transport.is_closing() and self._sends_no_request(now):
            self._refuse(b"408 Request Timeout")

    def _takes_no_answer(self, now: float) -> bool:
        unwritten = self.transport.get_write_buffer_size()
        if not unwritten or unwritten != self._unwritten:
            self._unwritten, self._written_at = unwritten, now
        return now - self._written_at > ANSWER_IDLE_S

    def _sends_no_request(self, now: float) -> bool:
        if self._in_head:
            return now - self._head_since > HEAD_S
        cycle = self.cycle
        # Otherwise the client waits for the service, which does not read, or has not answered `Expect: 100-continue`.
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
    """Closes the connections that are stuck; to be called every few seconds."""
    for connection in list(connections):
        if isinstance(connection, BoundedProtocol):
            connection.close_if_stuck(now)


class CoalescingTransport:
    """Joins two consecutive writes; passes all methods that send nothing to the transport."""

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
        """Send several parts, after the one that is kept."""
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
