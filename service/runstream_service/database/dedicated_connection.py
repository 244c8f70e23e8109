"""A connection for one user, outside the pool, which is opened again when it was lost; and transactions on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from runstream_service.database.pool import Connection

T = TypeVar("T")


@contextlib.asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """A read-committed transaction, as roll-up needs it: each statement sees what was committed before it began."""
    await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        yield
    except Exception:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


class DedicatedConnection:
    """The connection of a writer or of roll-up: outside the pool, and for one piece of work at a time."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """Connect, unless there is a connection. Raises DatabaseUnavailable."""
        if self._connection is None or self._connection.is_closed():
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def set_lost(_: object) -> None:
                lost.set_result(None)

            self._lost = lost
            self._connection = await self._connect()
            self._connection.add_termination_listener(set_lost)

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, timeout_s: float) -> T:
        """The result of `work` on the connection. If it fails in any way, the connection is closed, and what was not
        committed is rolled back.

        Raises:
            TimeoutError: no result within `timeout_s` seconds.
            ConnectionError: the connection was lost.
        """
        assert self._connection is not None, "not connected"
        working = asyncio.ensure_future(work(self._connection))
        watched: set[asyncio.Future[Any]] = {working, self._lost}
        try:
            # asyncpg's COPY waits forever when the connection is lost while its write buffer is full, so the loss of
            # the connection is watched, too. If both happen, the outcome of the work counts.
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
        """Close the connection without a goodbye message, which could hang on the connection that just failed. What was
        not committed is rolled back."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _consume_outcome(working: asyncio.Future[T]) -> None:
    """Retrieve the exception of abandoned work, so that asyncio does not report it as unhandled."""
    if not working.cancelled():
        working.exception()
