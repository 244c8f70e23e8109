"""A proxy in front of the service that comes and goes: for a while it forwards connections, then it cuts all of them
and accepts none."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import cast


class FlappingProxy:
    """Listens on the loopback, at `address`, and goes or comes back every `period_s`."""

    def __init__(self, target: str, period_s: float) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._period_s = period_s
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()
        self._task: asyncio.Task[None] | None = None
        self._port = 0
        self.cuts = 0

    @property
    def address(self) -> str:
        """HOST:PORT, which never changes."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> FlappingProxy:
        await self._listen()
        self._task = asyncio.create_task(self._change())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._cut()

    async def _change(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self._cut()
            self.cuts += 1
            await asyncio.sleep(self._period_s)
            await self._listen()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Side(self), "127.0.0.1", self._port, reuse_address=True)
        self._port = self._server.sockets[0].getsockname()[1]

    def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in list(self._transports):
            transport.abort()

    async def connect(self, side: _Side) -> None:
        """Connects the other side of a connection that was accepted."""
        with contextlib.suppress(OSError):
            loop = asyncio.get_running_loop()
            _, other = await loop.create_connection(lambda: _Side(self, side), *self._target)
            side.join(other)
            return
        side.close()

    def opened(self, transport: asyncio.Transport) -> None:
        """Of one side."""
        self._transports.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Of one side."""
        self._transports.discard(transport)


class _Side(asyncio.Protocol):
    """One side of a connection. The load is light, so nothing is held back."""

    def __init__(self, proxy: FlappingProxy, other: _Side | None = None) -> None:
        self._proxy = proxy
        self._other = other
        self._is_inner = other is not None
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._proxy.opened(self._transport)
        if not self._is_inner:
            self._connecting = asyncio.ensure_future(self._proxy.connect(self))

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        else:
            self._other.send(data)

    def connection_lost(self, _error: Exception | None) -> None:
        assert self._transport is not None
        self._proxy.closed(self._transport)
        if self._other is not None:
            self._other.close()

    def join(self, other: _Side) -> None:
        """Called when the other side is connected."""
        self._other = other
        for data in self._early:
            other.send(data)

    def send(self, data: bytes) -> None:
        """The connection of this side."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Called when the other side has ended."""
        if self._transport is not None:
            self._transport.close()
