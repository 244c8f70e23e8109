"""Connections to PostgreSQL, and the one place where the driver's exceptions are translated."""

from __future__ import annotations

import contextlib
import os
import re
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from runstream_service.concurrency.deadlines import Deadline, with_timeout
from runstream_service.database import effects, tls
from runstream_service.database.connections import (
    MIGRATION,
    NOTIFIER,
    PING,
    POOL,
    READER,
    ROLLUP,
    WRITER,
    Connection,
    ConnectionKind,
    OurConnection,
    Pool,
    PooledConnection,
    open_connection,
)
from runstream_service.database.database_url import DatabaseUrl
from runstream_service.database.failover import Servers
from runstream_service.database.suspects import Suspects
from runstream_service.errors.core import CoreError, DatabaseUnavailable, DatabaseUnsuitable, NotConnected
from runstream_service.sharing.slots import FairSlots, NoSlot

__all__ = ["Connection", "Database", "Pool", "PooledConnection"]

if TYPE_CHECKING:
    from runstream_service.database.layout import Layout
    from runstream_service.database.replica import ReplicaId

log = structlog.get_logger()

ACQUIRE_TIMEOUT_S = 10.0
# The longest read. Hot batches stay at least this long after they moved to segments (DESIGN.md, max_read_age).
READ_TIMEOUT_S = 60.0

# SQLSTATE classes and codes after which the same call may succeed later: connection (08), rollback such as a deadlock
# (40), resources such as disk and connections (53), operator intervention such as a shutdown or a timeout (57), I/O
# (58030), lock, idle and transaction timeouts, read-only after a failover, a wrong password or a missing database while
# an operator changes them.
UNAVAILABLE_STATES = ("08", "40", "53", "57", "58030", "55P03", "25P03", "25P04", "25006", "28", "3D000")
# A prepared statement of this session is missing, or one of another session is there.
_SESSION_NOT_KEPT = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
DATA_STATES = ("22", "23")

_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"

# One string, so that it takes one round trip.
_BEGIN_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL max_parallel_workers_per_gather = 0"
)


def translate(error: BaseException) -> CoreError | None:
    """The core's error for an exception of the driver that means that the database is unavailable, or unsuitable. None
    for any other exception: a bug, or data that PostgreSQL refuses.

    Callers write `raise translated from error`.
    """
    if isinstance(error, CoreError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if isinstance(error, _SESSION_NOT_KEPT):
            return DatabaseUnsuitable(
                f"a connection pooler does not keep sessions (it must be in session mode): {error}"
            )
        if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error):
            return DatabaseUnsuitable(
                f"a connection pooler refuses what the URL asks for ({error}); leave that out (ALTER ROLE ... SET does "
                "the same), or give the address of PostgreSQL itself"
            )
        if state.startswith(UNAVAILABLE_STATES) or isinstance(error, asyncpg.InvalidCachedStatementError):
            why = "it refused the login" if state.startswith("28") else str(error)  # callers need no user names
            return DatabaseUnavailable(f"PostgreSQL: {why} (SQLSTATE {state})")
        return None
    if isinstance(error, asyncpg.InterfaceError) and re.search(r"\bclos(ed|ing)\b", str(error)):
        return DatabaseUnavailable(f"the connection to PostgreSQL is gone: {error}")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return DatabaseUnavailable("PostgreSQL takes no writes: each server that answers is a standby or read-only")
    if isinstance(error, asyncpg.InternalClientError):
        # Such as "cannot switch to state 12": the server closed the connection while it was idle, and the driver has
        # not noticed yet. This connection cannot be used any more; a new one probably can.
        return DatabaseUnavailable(f"the connection to PostgreSQL is unusable: {error}")
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable("PostgreSQL did not answer in time")
    if (trouble := tls.explain_failure(error)) is not None:
        return DatabaseUnavailable(f"PostgreSQL cannot be reached: {trouble}")
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else type(error).__name__  # without addresses: callers see it
        return DatabaseUnavailable(f"PostgreSQL cannot be reached: {why}")
    return None


def is_data_error(error: BaseException) -> bool:
    """Whether PostgreSQL refused the data itself (SQLSTATE 22*, 23*), so that trying again does not help."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(DATA_STATES)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Translates exceptions of the driver that leave the block, as `translate` does; all others pass unchanged."""
    try:
        yield
    except Exception as error:
        better = translate(error)
        if better is None or better is error:
            raise
        raise better from error


def server_start_id_of(connection: Connection | PooledConnection) -> str:
    """Identifies the start of the database server that a connection leads to. Only for comparison.

    Ids that were read under one start, such as the id of a series, must not be written under another: the state of that
    server may be older, so that it does not know the series, or has assigned its id to another one.
    """
    server_start_id: str = connection.server_start_id  # type: ignore[union-attr]  # a pool's proxy passes it on
    return server_start_id


def layout_of(connection: Connection | PooledConnection) -> Layout:
    """Whether the points are in one PostgreSQL or distributed, as the connection found when it was opened."""
    layout: Layout = connection.layout  # type: ignore[union-attr]  # a pool's proxy passes it on
    return layout


@contextlib.asynccontextmanager
async def rolled_back_on_error(connection: PooledConnection) -> AsyncIterator[None]:
    """Rolls back when the block fails, whose own statements begin and end a transaction. After a timeout the connection
    is closed instead, as a ROLLBACK would wait for another answer."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(asyncpg.InterfaceError):  # the pool was closed meanwhile
            await _roll_back(connection, answers=not isinstance(error, TimeoutError))
        raise


async def _roll_back(connection: PooledConnection, *, answers: bool) -> None:
    if answers and not connection.is_closed():
        try:
            await connection.execute("ROLLBACK", timeout=ACQUIRE_TIMEOUT_S)
        except (OSError, asyncpg.PostgresError):  # a TimeoutError is an OSError
            answers = False
    if not answers:
        connection.terminate()


class Database:
    """A pool of connections, and the connections outside it. When PostgreSQL restarts or fails over, it recovers
    automatically: a dead connection is replaced at its next use, by one to the server of the URL that takes writes.

    All methods raise DatabaseUnavailable if PostgreSQL cannot be reached or does not answer in time.
    """

    def __init__(self, url: DatabaseUrl, replica: ReplicaId | None = None) -> None:
        self._servers = Servers(url)
        self._replica = replica
        self.url = ""  # of `open`, for the other pools and processes of this replica
        self._pool: Pool
        self._slots: FairSlots
        self._connections: weakref.WeakSet[OurConnection] = weakref.WeakSet()
        self._ping_connection: OurConnection | None = None
        self._ping_was_lost = False
        self._suspects = Suspects()
        self._server_start_id = ""  # of the last ping that was answered
        self._away_since: float | None = None

    @classmethod
    async def open(
        cls, url: str, *, max_size: int = 10, replica: ReplicaId | None = None, kind: ConnectionKind = POOL
    ) -> Database:
        """Connects, for a replica of the service or, without `replica`, for another command.

        Raises:
            DatabaseUnavailable: no server of the URL answers and takes writes.
            ValueError: the URL is invalid.
        """
        database = cls(DatabaseUrl.parse(url), replica)
        database.url = url

        async def connect(*_: object, **__: object) -> Connection:
            return await database._connect(kind)

        with translated():
            database._pool = await asyncpg.create_pool(
                connect=connect, connection_class=OurConnection, min_size=1, max_size=max_size
            )
        database._slots = FairSlots("calls", max_size)
        return database

    async def open_for_reads(self, *, max_size: int) -> Database:
        """A further pool to the same database, for read transactions on the running event loop."""
        return await Database.open(self.url, max_size=max_size, replica=self._replica, kind=READER)

    async def _connect(self, kind: ConnectionKind) -> OurConnection:
        name = kind.name if self._replica is None else self._replica.application_name(kind.name)
        connection = await open_connection(self._servers, kind, name)
        self._connections.add(connection)
        return connection

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[PooledConnection]:
        """A connection of the pool. Waits at most 10 s for one, in a queue in which workspaces take turns. Raises
        NotConnected if there is none by then."""
        with translated():
            async with contextlib.AsyncExitStack() as stack:
                with self._connecting():
                    deadline = Deadline(ACQUIRE_TIMEOUT_S)
                    await self._take_turn(stack)
                    connection = await stack.enter_async_context(self._pool.acquire(timeout=deadline.left_s()))
                effects.are_possible()
                try:
                    yield connection
                except asyncpg.ReadOnlySQLTransactionError:
                    # The server takes no writes any more. All connections to it are replaced at their next use.
                    await self._pool.expire_connections()
                    raise

    async def _take_turn(self, stack: contextlib.AsyncExitStack) -> None:
        try:
            await stack.enter_async_context(self._slots.slot(wait_s=ACQUIRE_TIMEOUT_S))
        except NoSlot as error:
            raise DatabaseUnavailable(error.message) from error

    @contextlib.contextmanager
    def _connecting(self) -> Iterator[None]:
        """Turns a failure to get a connection into NotConnected, which says that nothing was done, and for how long
        connecting has failed."""
        begun = time.monotonic()
        try:
            with translated():
                yield
        except DatabaseUnavailable as error:
            self._away_since = self._away_since or begun
            raise NotConnected(error.message, away_s=time.monotonic() - self._away_since) from error
        self._away_since = None

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[PooledConnection]:
        """A connection in a read-committed transaction; commits at the end, rolls back on an exception."""
        async with self.acquire() as connection, connection.transaction():
            yield connection

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Runs a statement; returns all rows."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Runs a statement; returns the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """Runs a statement; returns the first column of the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        """Runs a statement; returns its command tag, such as "DELETE 3"."""
        async with self.acquire() as connection:
            return await connection.execute(query, *arguments)

    async def connect_writer(self) -> Connection:
        """A connection for an ingest writer, outside the pool; the caller closes it.

        On it, times are PostgreSQL's microseconds since 2000-01-01.
        """
        with translated():
            return await self._connect_for_times_as_numbers(WRITER)

    async def connect_notifier(self) -> Connection:
        """A connection for LISTEN and NOTIFY, outside the pool; the caller closes it."""
        with translated():
            return await self._connect(NOTIFIER)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PooledConnection]:
        """A connection in a read-only transaction. All of its statements see the same snapshot, and each is planned for
        the values of its parameters."""
        async with self.acquire() as connection:
            await connection.execute(_BEGIN_SNAPSHOT)
            try:
                yield connection
            except TimeoutError:
                connection.terminate()  # a ROLLBACK would wait for an answer, too
                raise
            finally:
                if not connection.is_closed():
                    await connection.execute("ROLLBACK", timeout=ACQUIRE_TIMEOUT_S)

    async def connect_rollup(self) -> Connection:
        """A connection for roll-up, outside the pool; the caller closes it.

        On it, times are PostgreSQL's microseconds since 2000-01-01, so whole columns need no conversion.
        """
        with translated():
            return await self._connect_for_times_as_numbers(ROLLUP)

    async def _connect_for_times_as_numbers(self, kind: ConnectionKind) -> Connection:
        connection = await self._connect(kind)
        try:
            await connection.set_type_codec(
                "timestamptz",
                schema="pg_catalog",
                encoder=lambda microseconds: (microseconds,),
                decoder=lambda parts: parts[0],
                format="tuple",
            )
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def connect_migration(self) -> Connection:
        """A connection for statements that may take hours, outside the pool; the caller closes it."""
        with translated():
            return await self._connect(MIGRATION)

    async def ping(self, *, timeout_s: float = 2.0) -> None:
        """Returns if PostgreSQL answers a query within the time, and takes writes.

        It uses a connection outside the pool, so that a busy pool does not look like a database that is away. When it
        finds another server than before, all connections to the former one are closed: they may hang on a machine that
        is gone. When it had to reconnect to the same server, connections that have gone silent are closed.

        Raises DatabaseUnavailable.
        """
        try:
            with translated():
                await with_timeout(self._check_writable(), timeout_s)
        except BaseException:
            if self._ping_connection is not None:
                self._ping_connection.terminate()
                self._ping_connection, self._ping_was_lost = None, True
            raise

    async def _check_writable(self) -> None:
        if self._ping_connection is None:
            self._ping_connection = await self._connect(PING)
            self._drop_stale_connections(server_start_id_of(self._ping_connection))
            if self._ping_was_lost:
                await self._suspects.suspect(self._connections, self._ping_connection)
                self._ping_was_lost = False
        await self._suspects.check(self._ping_connection)
        if await self._ping_connection.fetchval(_READ_ONLY):
            raise DatabaseUnavailable("PostgreSQL takes no writes: it has become a standby, or read-only")

    def _drop_stale_connections(self, server_start_id: str) -> None:
        others = [c for c in self._connections if c.server_start_id != server_start_id and not c.is_closed()]
        for connection in others:
            connection.terminate()
        if self._server_start_id and server_start_id != self._server_start_id:
            message = "PostgreSQL was restarted, or another server took over"
            log.warning(message, action="database_changed", connections_cut=len(others))
        self._server_start_id = server_start_id

    @property
    def size(self) -> int:
        """How many connections of the pool are open."""
        return self._pool.get_size()

    @property
    def capacity(self) -> int:
        """The most connections that the pool opens."""
        return self._pool.get_max_size()

    @property
    def in_use(self) -> int:
        """How many connections of the pool are acquired now."""
        return self._pool.get_size() - self._pool.get_idle_size()

    async def close(self, *, within_s: float = 5.0) -> None:
        """Waits for running work, then closes all connections; after `within_s` it closes them at once."""
        if self._ping_connection is not None:
            self._ping_connection.terminate()
        try:
            await with_timeout(self._pool.close(), within_s)
        except (OSError, asyncpg.PostgresError):  # a TimeoutError is an OSError
            self._pool.terminate()
