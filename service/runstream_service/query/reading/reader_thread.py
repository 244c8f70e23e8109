"""A thread with its own event loop and connections, in which reads run.

Ingest keeps the event loop of the front end busy: with hundreds of streams, each await there takes ten milliseconds or
more, and a read awaits PostgreSQL dozens of times. In this thread a read waits for PostgreSQL only, and its caller
awaits one result.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

from runstream_service.errors.core import CoreError

if TYPE_CHECKING:
    from runstream_service.database.pool import Database

T = TypeVar("T")
Emit = Callable[..., Awaitable[None]]

OpenDatabase = Callable[[], Coroutine[Any, Any, "Database"]]

_PING_EVERY_S = 2.0


class ReaderThread:
    """Call `start`, then `run` any number of times, then `stop`, all on the event loop of the front end.

    It has no bounds of its own: ReadPool bounds how many reads run and wait, and READ_TIMEOUT_S how long each takes.
    """

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        # A daemon: a statement without an answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()  # so that a caller of `ended` that is cancelled does not end it
        self._pings: asyncio.Task[None] | None = None
        self.database: Database

    @classmethod
    async def start(cls, open_database: OpenDatabase) -> ReaderThread:
        """Starts the thread, and opens its connections in it. Raises what `open_database` raises."""
        reader = cls()
        reader._thread.start()
        try:
            await reader.run(reader._open(open_database))
        except BaseException:
            reader._loop.call_soon_threadsafe(reader._loop.stop)
            raise
        return reader

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the loop of the thread. If the caller is cancelled, so is the coroutine."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def ended(self) -> None:
        """Returns when the thread has ended after `stop`. Raises the error that ended it otherwise."""
        await asyncio.wrap_future(self._ended)

    async def stop(self, *, within_s: float) -> None:
        """Cancels the reads under way, closes the connections, and ends the thread."""
        await self.run(self._close(within_s))
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _work(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_forever()
        except BaseException as error:
            self._ended.set_exception(error)
            raise
        self._ended.set_result(None)

    async def _open(self, open_database: OpenDatabase) -> None:
        self.database = await open_database()
        self._pings = asyncio.create_task(self._ping())

    async def _ping(self) -> None:
        """Closes connections to a server that is gone, and silent ones (Database.ping). Errors are ignored: the front
        end has its own ping, and reports that the database is away."""
        while True:
            with contextlib.suppress(CoreError, TimeoutError, asyncio.TimeoutError):
                await self.database.ping()
            await asyncio.sleep(_PING_EVERY_S)

    async def _close(self, within_s: float) -> None:
        if self._pings is not None:
            self._pings.cancel()
        await self.database.close(within_s=within_s)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def in_this_loop(emit: Emit) -> Emit:
    """A version of `emit` that may be called on any event loop, and runs on the current one."""
    own = asyncio.get_running_loop()

    @functools.wraps(emit)
    async def emit_there(*arguments: Any) -> None:
        if asyncio.get_running_loop() is own:
            await emit(*arguments)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(emit(*arguments)), own))

    return emit_there


async def _awaited(work: Awaitable[None]) -> None:
    await work
