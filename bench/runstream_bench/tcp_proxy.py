"""A TCP proxy on the loopback that does what networks do: cut, freeze, stall, slice, delay, lose answers."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")

_PIECE_BYTES = 65_536
# Answers are thrown away for so long after the first of them, so that those of other connections are lost too.
_LOSE_S = 0.2


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
    - `lose_answers()` lets requests through and throws their answers away; then all connections are reset.
    - `resume()` ends `freeze` and `stall`: what was held back arrives. `restore()` ends all harm.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.refuse = False
        self.slice_bytes = _PIECE_BYTES
        self.delay_s = 0.0
        self.cut_after_bytes = 0
        self.connections = 0
        self.cuts = 0
        self._stalled = Direction(0)
        self._loses_answers = False
        self._lost: set[_Link] = set()  # some of their answers were thrown away
        self._links: set[_Link] = set()
        self._chance = random.Random(7)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = self._await(asyncio.start_server(self._connection, "127.0.0.1", 0), 10)
        self.port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._await(self._close(), 10)
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

    def lose_answers(self, *, patience_s: float = 10.0) -> int:
        """Carry out requests and lose their answers; on how many connections that happened before they were reset.

        0 if nobody has asked for anything within `patience_s`.
        """
        return self._await(self._lose_answers(patience_s), patience_s + 10)

    def resume(self) -> None:
        """Forward again, on all connections."""
        self._run(self._resume)

    def restore(self) -> None:
        """End all harm; connections that were cut stay so."""
        self.refuse, self.slice_bytes, self.delay_s, self.cut_after_bytes = False, _PIECE_BYTES, 0.0, 0
        self.resume()

    def _run(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return self._await(act(), 10)

    def _await(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

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

    async def _lose_answers(self, patience_s: float) -> int:
        for link in self._links:
            link.asked = False
        self._lost.clear()
        self._loses_answers = True
        give_up = time.monotonic() + patience_s
        while not self._lost and time.monotonic() < give_up:  # noqa: ASYNC110 - per piece
            await asyncio.sleep(0.02)
        await asyncio.sleep(_LOSE_S)
        self._loses_answers = False
        self._cut()
        return len(self._lost)

    async def _close(self) -> None:
        self._server.close()
        self.refuse = True  # connections that are being accepted just now
        self._cut()
        for _ in range(3):
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                # They end without being cancelled: asyncio reports a handler of a connection that is cancelled as an
                # error.
                await asyncio.wait(others, timeout=5)
            await asyncio.sleep(0)  # sockets of what was reset are closed in the next round of the loop

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
            asyncio.ensure_future(self._ask(reader, up_writer, link, budget)),
            asyncio.ensure_future(self._answer(up_reader, writer, link)),
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

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, budget: int | None
    ) -> None:
        """Copies requests until one side ends or the budget is spent."""
        with contextlib.suppress(OSError):
            while data := await self._piece(reader, link.requests):
                link.asked = True
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                writer.write(data)
                await writer.drain()
                if budget is not None and budget <= 0:
                    self.cuts += 1
                    return
        await link.requests.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        """Copies answers until one side ends."""
        with contextlib.suppress(OSError):
            while data := await self._piece(reader, link.answers):
                if self._loses_answers:
                    if link.asked:
                        self._lost.add(link)
                else:
                    writer.write(data)
                    await writer.drain()
        await link.answers.wait()

    async def _piece(self, reader: asyncio.StreamReader, open_gate: asyncio.Event) -> bytes:
        """What arrived, when the gate is open; empty at the end."""
        data = await reader.read(self.slice_bytes)
        if data:
            await open_gate.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
        return data


class _Link:
    """A client's connection and the one to the target; each direction has a gate.

    `asked`: something was requested, since answers began to be lost.
    """

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.requests, self.answers = asyncio.Event(), asyncio.Event()
        self.asked = False
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


def socket_of(database_url: str) -> str:
    """The path of the unix socket of a database, from its URL: a target for Proxy."""
    query = parse_qs(urlsplit(database_url).query)
    return f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"


def through(database_url: str, address: str) -> str:
    """The URL of the same database at another address, HOST:PORT."""
    parts = urlsplit(database_url)
    return f"postgresql://{parts.username}@{address}{parts.path}"
