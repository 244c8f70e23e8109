"""Reads a stream of events as a browser does, over a plain connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class PageEvent:
    """One event of the stream."""

    kind: str
    data: Any


class EventReader:
    """`open`, then `events`, then `close`. `last_id` is what a browser would send when it reconnects."""

    def __init__(self, url: str, query: Mapping[str, Any], *, headers: Mapping[str, str] | None = None) -> None:
        self._address = urlsplit(url)
        self._path = f"{self._address.path}/web/api/events?{urlencode(query, doseq=True)}"
        self._headers = dict(headers or {})
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.status = 0
        self.head = b""
        self.last_id: str | None = None

    async def open(self, *, last_id: str | None = None) -> int:
        """Connects; returns the status."""
        self._reader, self._writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        headers = {"host": self._address.netloc, "accept": "text/event-stream", **self._headers}
        if last_id is not None:
            headers["last-event-id"] = last_id
        lines = [f"GET {self._path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode())
        self.head = await self._reader.readuntil(b"\r\n\r\n")
        self.status = int(self.head.split(b" ", 2)[1])
        self.last_id = last_id
        return self.status

    async def events(self) -> AsyncIterator[PageEvent]:
        """Events as they come; ends when the service ends the stream."""
        waiting = b""
        async for chunk in self._chunks():
            *whole, waiting = (waiting + chunk).split(b"\n\n")
            for block in whole:
                kind, data = "message", b""
                for line in block.split(b"\n"):
                    name, _, value = line.partition(b": ")
                    if name == b"event":
                        kind = value.decode()
                    elif name == b"data":
                        data = value
                    elif name == b"id":
                        self.last_id = value.decode()
                if data:
                    yield PageEvent(kind, orjson.loads(data))

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            while size := int(await self._reader.readline() or b"0", 16):
                yield await self._reader.readexactly(size)
                await self._reader.readline()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def close(self) -> None:
        """Closes the connection, as a browser does when a tab is closed."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
