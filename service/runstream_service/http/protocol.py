"""uvicorn's protocol with one write an answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Longer parts are neither copied for that nor kept.
_JOINED_BYTES = 16_384


class JoiningProtocol(HttpToolsProtocol):
    """Sends the head and the body of a short answer together. uvloop writes at once whatever it is given, so each of
    the two was a packet of its own, which the caller woke up for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection begins."""
        joining = JoiningTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", joining))


class JoiningTransport:
    """Joins two writes that follow each other; all else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept: bytes | memoryview = b""

    def write(self, data: bytes | memoryview) -> None:
        """Send with what is written next, or in the event loop's next turn."""
        if self._kept:
            self._flush(data)
        elif len(data) > _JOINED_BYTES:
            self._transport.write(data)
        else:
            self._kept = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close when all is sent."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self, more: bytes | memoryview = b"") -> None:
        kept, self._kept = self._kept, b""
        if len(more) > _JOINED_BYTES:
            self._transport.writelines((kept, more))
        elif kept:
            self._transport.write(b"".join((kept, more)))
