"""A way to a server on which answers get lost: requests arrive and are carried out, and then the connection breaks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType

_CHUNK = 65_536
# Between two times at which answers get lost.
_PASS_S = 1.0
# An answer is thrown away for so long before the connections break, and nobody waits longer for one.
_LOSE_S, _PATIENCE_S = 0.2, 10.0


class LostAnswers:
    """A TCP proxy on the loopback, which knows nothing of what it forwards. `answers` counts the connections that broke
    after a request had been forwarded and something of its answer had been thrown away."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._asked: set[asyncio.StreamWriter] = set()
        self._lost: set[asyncio.StreamWriter] = set()
        self._loses = False
        self.port = 0
        self.answers = 0

    async def __aenter__(self) -> LostAnswers:
        self._server = await asyncio.start_server(self._forward_both_ways, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._break_all()

    async def lose(self, times: int) -> None:
        """Returns when that has happened so often; then everything passes again. A client that asks for nothing for ten
        seconds loses nothing that time."""
        for _ in range(times):
            await asyncio.sleep(_PASS_S)
            self._asked.clear()
            self._lost.clear()
            self._loses = True
            give_up = time.monotonic() + _PATIENCE_S
            while not self._lost and time.monotonic() < give_up:  # noqa: ASYNC110 - set for each piece of data
                await asyncio.sleep(0.02)
            await asyncio.sleep(_LOSE_S)
            self._loses = False
            self.answers += len(self._lost)
            self._break_all()

    def _break_all(self) -> None:
        for down, up in self._open:
            down.transport.abort()
            up.transport.abort()

    async def _forward_both_ways(self, reader: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        try:
            up_reader, up = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            down.transport.abort()
            return
        pair = (down, up)
        self._open.add(pair)
        ways = [
            asyncio.create_task(self._forward(reader, up, down, is_answer=False)),
            asyncio.create_task(self._forward(up_reader, down, down, is_answer=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._open.discard(pair)
            down.transport.abort()
            up.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        *,
        is_answer: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if is_answer and self._loses:
                    if client in self._asked:
                        self._lost.add(client)
                    continue
                if not is_answer:
                    self._asked.add(client)
                writer.write(data)
                await writer.drain()
