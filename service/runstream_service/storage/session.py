"""A connection of one's own, made again when it was lost, and transactions on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from runstream_service.storage.database import Connection

T = TypeVar("T")


@contextlib.asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """Read committed, as roll-up needs it: each statement sees what was committed before it began."""
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        yield
    except Exception:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


class Session:
    """What writers and roll-up work on: outside the pool, and one piece of work at a time."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """Connect unless connected. Raises DatabaseUnavailable."""
        if self._connection is None or self._connection.is_closed():
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def set_lost(_: object) -> None:
                lost.set_result(None)

            self._lost = lost
            self._connection = await self._connect()
            self._connection.add_termination_listener(set_lost)

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, timeout_s: float) -> T:
        """Do some work. If it fails in any way the connection is gone, and with it all that was not committed."""
        assert self._connection is not None, "not connected"
        working = asyncio.ensure_future(work(self._connection))
        watched: set[asyncio.Future[Any]] = {working, self._lost}
        try:
            # asyncpg's COPY waits for ever when the connection goes while its write buffer is full, so the loss of the
            # connection is watched beside it. Where both happened, the work's own outcome counts.
            await asyncio.wait(watched, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if self._lost.done():
                raise ConnectionError("the connection was lost in the middle of a transaction")
            raise TimeoutError(f"no outcome within {timeout_s:g} s")
        except BaseException:
            self.disconnect()
            raise
        finally:
            if not working.done():
                working.cancel()
                working.add_done_callback(_consume_outcome)

    def disconnect(self) -> None:
        """Cut the connection; what was not committed is rolled back. Not a polite goodbye, which could hang on the very
        connection that just failed."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _consume_outcome(working: asyncio.Future[T]) -> None:
    """Nobody waits for it any more; asked for, its exception is not reported as forgotten."""
    if not working.cancelled():
        working.exception()
