"""Questions and messages between the supervisor and a worker, over a pair of sockets.

A frame is its length and a JSON object. A question has an id, which its answer repeats; a message has none. When a
process ends, however it does, the other one reads the end of the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from runstream_service.concurrency.deadlines import with_timeout

_LENGTH = struct.Struct("<I")
# The largest are metrics, of a few hundred kilobytes. What is written to a process that does not read is a ping and a
# message a second, until that process is killed some seconds later.
MAX_FRAME_BYTES = 64 << 20

Answers = Mapping[str, Callable[[Any], Awaitable[Any]]]
Hears = Mapping[str, Callable[[Any], object]]


class NoAnswer(Exception):
    """The other process has ended, does not answer in time, or failed to answer."""


class Channel:
    """One end. `answers` are functions for questions of the other end, `hears` those for its messages."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: Answers, hears: Hears
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answers = answers
        self._hears = hears
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, sock: socket.socket, *, answers: Answers, hears: Hears) -> Channel:
        """The end that a socket is. `run` reads what the other end writes."""
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, answers=answers, hears=hears)

    def tell(self, subject: str, body: object = None) -> None:
        """Send a message."""
        self._write({"tell": subject, "body": body})

    async def ask(self, question: str, body: object = None, *, timeout_s: float) -> Any:
        """The answer to a question. Raises NoAnswer."""
        self._last_id += 1
        number = self._last_id
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            if self._reader.at_eof():
                raise NoAnswer("the other process has ended")
            self._write({"ask": question, "id": number, "body": body})
            return await with_timeout(answer, timeout_s)
        except TimeoutError as error:
            raise NoAnswer(f"no answer to {question!r} within {timeout_s:g} s") from error
        finally:
            del self._asked[number]

    async def run(self) -> None:
        """Read until the other end has closed. Questions without an answer then get NoAnswer."""
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._take(await self._read())
        finally:
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(NoAnswer("the other process has ended"))
            for task in self._answering:
                task.cancel()
            self._writer.close()

    async def flush(self) -> None:
        """Wait until everything is with the kernel: it reaches the other end even if this process ends now."""
        with contextlib.suppress(ConnectionError):
            self._writer.transport.set_write_buffer_limits(0)
            await self._writer.drain()

    async def _read(self) -> dict[str, Any]:
        (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise ConnectionError(f"a frame of {length:,} bytes")
        frame: dict[str, Any] = orjson.loads(await self._reader.readexactly(length))
        return frame

    def _take(self, frame: dict[str, Any]) -> None:
        if "tell" in frame:
            self._hears[frame["tell"]](frame["body"])
        elif "ask" in frame:
            task = asyncio.create_task(self._answer(frame))
            self._answering.add(task)  # the event loop alone would not keep it
            task.add_done_callback(self._answering.discard)
        elif (asked := self._asked.get(frame["id"])) is not None and not asked.done():
            if "error" in frame:
                asked.set_exception(NoAnswer(frame["error"]))
            else:
                asked.set_result(frame["answer"])

    async def _answer(self, frame: dict[str, Any]) -> None:
        reply = {"id": frame["id"]}
        try:
            reply["answer"] = await self._answers[frame["ask"]](frame["body"])
        except Exception as error:  # the other end reports it
            reply["error"] = repr(error)
        self._write(reply)

    def _write(self, frame: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            data = orjson.dumps(frame)
            self._writer.write(_LENGTH.pack(len(data)) + data)
