"""Questions and messages between the supervisor and a worker, over a pair of sockets.

A frame is its length and a JSON object. A question has an id, which its answer repeats; a message has none, and gets no
answer. When one process ends, for any reason, the other one reads the end of the stream.
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
# The largest frames are metrics, of a few hundred kilobytes. (Writes have no limit: a process that does not read gets a
# ping and a message a second, until it is killed some seconds later.)
MAX_FRAME_BYTES = 64 << 20

# By name, functions of the body of a question or message.
OnQuestion = Mapping[str, Callable[[Any], Awaitable[Any]]]
OnMessage = Mapping[str, Callable[[Any], object]]


class NoAnswer(Exception):
    """The other process has ended, did not answer in time, or raised an error while it answered."""


class Channel:
    """One end of the connection. `on_question` has the functions that answer questions of the other end, `on_message`
    those that are called for its messages."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        on_question: OnQuestion,
        on_message: OnMessage,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_question = on_question
        self._on_message = on_message
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, sock: socket.socket, *, on_question: OnQuestion, on_message: OnMessage) -> Channel:
        """A channel over one of the two sockets. It receives nothing until `run` is called."""
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, on_question=on_question, on_message=on_message)

    def tell(self, subject: str, body: object = None) -> None:
        """Sends a message, without waiting until it has arrived."""
        self._write({"tell": subject, "body": body})

    async def ask(self, question: str, body: object = None, *, timeout_s: float) -> Any:
        """Asks a question, and returns the answer. Raises NoAnswer."""
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
        """Reads frames until the other end has closed. Questions that have no answer by then fail with NoAnswer."""
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
        """Waits until the kernel has everything that was sent: it then arrives even if this process ends."""
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
            self._on_message[frame["tell"]](frame["body"])
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
            reply["answer"] = await self._on_question[frame["ask"]](frame["body"])
        except Exception as error:  # the other end reports it
            reply["error"] = repr(error)
        self._write(reply)

    def _write(self, frame: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            data = orjson.dumps(frame)
            self._writer.write(_LENGTH.pack(len(data)) + data)
