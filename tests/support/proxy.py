"""A TCP proxy on the loopback that does what networks do: cut, stall, slice, delay."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from types import TracebackType


class Proxy:
    """Forwards to `target` from a port of its own, in a thread of its own; the harm is set while it runs.

    `cut()` resets all connections. `refuse` closes new ones at once. `stalled` forwards nothing, and drops nothing: to
    both sides the peer is silent. `slice_bytes` forwards at most so many bytes at a time. `delay_s` holds each piece
    back. `cut_after_bytes` resets each connection after about so many bytes from the client.
    """

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self.refuse = False
        self.slice_bytes = 65_536
        self.delay_s = 0.0
        self.cut_after_bytes = 0
        self.connections = 0
        self.cuts = 0
        self._flowing: asyncio.Event
        self._writers: set[asyncio.StreamWriter] = set()
        self._chance = random.Random(7)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.resume()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def stall(self) -> None:
        """Forward nothing until `resume`."""
        self._loop.call_soon_threadsafe(lambda: self._flowing.clear())

    def resume(self) -> None:
        """Forward again."""
        self._loop.call_soon_threadsafe(lambda: self._flowing.set())

    async def _serve(self) -> asyncio.Server:
        self._flowing = asyncio.Event()
        self._flowing.set()
        return await asyncio.start_server(self._connection, "127.0.0.1", 0)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        self.cuts += len(self._writers)
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        budget = self._chance.randint(1, 2 * self.cut_after_bytes) if self.cut_after_bytes else None
        up = asyncio.ensure_future(self._pump(reader, up_writer, budget))
        down = asyncio.ensure_future(self._pump(up_reader, writer, None))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            for end in (writer, up_writer):
                end.transport.abort()
            self._writers -= {writer, up_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(self.slice_bytes):
                await self._flowing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                writer.write(data)
                await writer.drain()
                if budget is not None and budget <= 0:
                    self.cuts += 1
                    return
