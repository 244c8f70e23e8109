"""A gate between one replica and PostgreSQL: while it is closed, nothing goes through, and neither side gets errors."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from urllib.parse import parse_qs, urlsplit


class Gate:
    """Listens on the loopback and forwards to the unix socket of a database, whose URL it has under `url`."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        query = parse_qs(parts.query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._url = f"postgresql://{parts.username}@{{}}{parts.path}"
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Gate:
        self._server = await asyncio.start_server(self._forward_both_ways, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = self._url.format(f"{host}:{port}")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._pairs:
            task.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def close(self) -> None:
        """Lets nothing through, on existing connections and on new ones."""
        self._open.clear()

    def open(self) -> None:
        """Lets everything through, including what was held back."""
        self._open.set()

    async def _forward_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._socket)
        ways = {
            asyncio.create_task(self._forward(reader, up_writer)),
            asyncio.create_task(self._forward(up_reader, writer)),
        }
        self._pairs |= ways
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._pairs -= ways
            writer.transport.abort()
            up_writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
            await self._open.wait()
