"""A TCP proxy on the loopback that does what networks do: cut, freeze, stall, slice, delay."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Direction(enum.Flag):
    """The direction in which bytes flow: requests go to the target, answers come back from it."""

    REQUESTS = enum.auto()
    ANSWERS = enum.auto()
    BOTH = REQUESTS | ANSWERS


class Proxy:
    """Forwards to `target` from a port of its own, in a thread of its own; the harm is set while it runs.

    `target` is HOST:PORT or the path of a unix socket, so that it can stand in front of any PostgreSQL too.

    - `cut()` resets all connections and says how many there were.
    - `refuse` accepts new connections and resets them at once.
    - `freeze()` makes the connections that exist silent for both sides, while new ones work: as when a firewall has
      forgotten them. Nothing is closed, not even when one side goes away.
    - `stall()` makes all connections silent, also new ones: a black hole, both ways or in one direction.
    - `delay_s` holds each piece back; `slice_bytes` forwards at most this many bytes at a time.
    - `cut_after_bytes` resets each new connection after about this many bytes of requests.
    - `resume()` ends `freeze` and `stall`: what was held back arrives. `restore()` ends all harm.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.refuse = False
        self.slice_bytes = 65_536
        self.delay_s = 0.0
        self.cut_after_bytes = 0
        self.connections = 0
        self.cuts = 0
        self._stalled = Direction(0)
        self._links: set[_Link] = set()
        self._chance = random.Random(7)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connection, "127.0.0.1", 0), self._loop
        ).result(10)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> int:
        """Reset every connection, frozen ones too; how many there were."""
        return self._run(self._cut)

    def freeze(self) -> int:
        """Make the connections that exist silent; how many there are."""
        return self._run(self._freeze)

    def stall(self, direction: Direction = Direction.BOTH) -> None:
        """Forward nothing in this direction, on no connection, until `resume`."""
        self._run(lambda: self._stall(direction))

    def resume(self) -> None:
        """Forward again, on all connections."""
        self._run(self._resume)

    def restore(self) -> None:
        """End all harm; connections that were cut stay so."""
        self.refuse, self.slice_bytes, self.delay_s, self.cut_after_bytes = False, 65_536, 0.0, 0
        self.resume()

    def _run(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def _cut(self) -> int:
        links = list(self._links)
        self.cuts += len(links)
        for link in links:
            link.cut()
        return len(links)

    def _freeze(self) -> int:
        for link in self._links:
            link.hold(Direction.BOTH)
        return len(self._links)

    def _stall(self, direction: Direction) -> None:
        self._stalled |= direction
        for link in self._links:
            link.hold(direction)

    def _resume(self) -> None:
        self._stalled = Direction(0)
        for link in self._links:
            link.release()

    async def _close(self) -> None:
        self._server.close()
        self._cut()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            # They end without being cancelled: asyncio reports a handler of a connection that is cancelled as an error.
            await asyncio.wait(others, timeout=5)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, up_writer)
        link.hold(self._stalled)
        self._links.add(link)
        budget = self._chance.randint(1, 2 * self.cut_after_bytes) if self.cut_after_bytes else None
        pumps = (
            asyncio.ensure_future(self._pump(reader, up_writer, link.requests, budget)),
            asyncio.ensure_future(self._pump(up_reader, writer, link.answers, None)),
        )
        try:
            await asyncio.wait({*pumps, link.ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            link.cut()
            self._links.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("/"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_gate: asyncio.Event, budget: int | None
    ) -> None:
        """Copies bytes until one side ends; its end goes through the gate as well."""
        with contextlib.suppress(OSError):
            while data := await reader.read(self.slice_bytes):
                await open_gate.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                writer.write(data)
                await writer.drain()
                if budget is not None and budget <= 0:
                    self.cuts += 1
                    return
        await open_gate.wait()


class _Link:
    """A client's connection and the one to the target; each direction has a gate."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.requests, self.answers = asyncio.Event(), asyncio.Event()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.release()

    def hold(self, directions: Direction) -> None:
        """Close the gates of these directions."""
        if Direction.REQUESTS in directions:
            self.requests.clear()
        if Direction.ANSWERS in directions:
            self.answers.clear()

    def release(self) -> None:
        """Open both gates."""
        self.requests.set()
        self.answers.set()

    def cut(self) -> None:
        """Reset both connections."""
        for writer in self._writers:
            writer.transport.abort()
        if not self.ended.done():
            self.ended.set_result(None)
