"""Read transactions: a read gets the watermark, segments and hot batches in one snapshot, so that they fit together.

    W = visible_epoch; segments of epochs <= W and hot batches of epochs > W together contain every point once.

A snapshot protects segments (MVCC), but not hot batches from being dropped with their partition. So, when everything is
read, a new snapshot shows whether an epoch above W was dropped. If so, points may be missing, and the read fails with
ReadTooSlow.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from runstream_service.concurrency import threads
from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.database.copy_rows import Sink, number, stream
from runstream_service.database.pool import READ_TIMEOUT_S, layout_of, rolled_back_on_error, server_start_id_of
from runstream_service.database.queries import load
from runstream_service.errors.core import DatabaseUnavailable, ReadTooSlow
from runstream_service.sharing.slots import FairSlots
from runstream_service.stores import hot_store

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from runstream_service.database.pool import Database, PooledConnection
    from runstream_service.limits.limited_reads import LimitedReads
    from runstream_service.query.reading.reader_thread import ReaderThread
    from runstream_service.sharing.urgent import UrgentWork

SQL = load("points")

T = TypeVar("T")
P = ParamSpec("P")


class _HasReadPool(Protocol):
    _read_pool: ReadPool


S = TypeVar("S", bound=_HasReadPool)


# Statements are sent together where possible. Each round trip saved is a wait for a processor on both sides, under
# load.
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Partitions of hot batches have no statistics, so the planner might not choose their index. The savepoint is rolled
# back, which undoes the settings and releases the locks: a replica that drops a partition waits for readers of hot
# batches, and writers wait for that replica.
_BEGIN_HOT = ("SAVEPOINT hot", "SET LOCAL enable_seqscan = off", "SET LOCAL max_parallel_workers_per_gather = 0")
_END_HOT = ("ROLLBACK TO hot", "RELEASE hot")

_FEW_ROWS = 5_000
# How many reads may wait for their turn, and for how long. A read may take READ_TIMEOUT_S.
_MAX_WAITING, _WAIT_S = 200, 30.0


class ReadTransaction:
    """The transaction of one read, and the methods that run statements in it. Points are read by COPY (stores/),
    everything else with `fetch`."""

    def __init__(self, connection: PooledConnection, visible_epoch: int, deadline: float) -> None:
        self._connection = connection
        self.visible_epoch = visible_epoch
        self._deadline = deadline

    @classmethod
    async def begin(cls, connection: PooledConnection) -> ReadTransaction:
        """Begin a transaction on a connection, and read the watermark of its snapshot."""
        deadline = time.monotonic() + READ_TIMEOUT_S
        epoch = await number(connection, SQL["visible_epoch"], before=_BEGIN, timeout_s=READ_TIMEOUT_S)
        return cls(connection, epoch, deadline)

    async def commit(self) -> int:
        """End the transaction. Returns the highest epoch whose hot batches are dropped by now, from a new snapshot."""
        return await number(self._connection, SQL["dropped_epoch"], before="COMMIT", timeout_s=self.left_s())

    async def fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of the statement `name` of points.sql."""
        return await self._connection.fetch(SQL[name], *arguments, timeout=self.left_s())

    async def copy_sql(self, statement: str) -> bytes:
        """The whole COPY of a statement without parameters."""
        portions: list[bytes] = []

        async def keep(data: bytes) -> None:
            portions.append(data)

        await self.stream_sql(statement, keep)
        return b"".join(portions)

    async def copy_of(self, name: str, *arguments: object) -> bytearray:
        """The whole COPY of the statement `name` of points.sql. Takes two round trips more than copy_sql."""
        return await self.copy_of_sql(SQL[name], *arguments)

    async def fetch_sql(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a statement with parameters."""
        return await self._connection.fetch(statement, *arguments, timeout=self.left_s())

    async def copy_of_sql(self, statement: str, *arguments: object) -> bytearray:
        """The whole COPY of a statement with parameters."""
        found = bytearray()

        async def keep(data: bytes) -> None:
            found.extend(data)

        await self._connection.copy_from_query(
            statement, *arguments, output=keep, format="binary", timeout=self.left_s()
        )
        return found

    async def stream_sql(self, statement: str, sink: Sink, *, before: str = "", after: str = "") -> None:
        """Passes the COPY of a statement to `sink` as it arrives; PostgreSQL waits while the sink does
        (copy_rows.stream)."""
        await stream(self._connection, statement, sink, before=before, after=after, timeout_s=self.left_s())

    async def force_custom_plans(self) -> None:
        """From here on, let PostgreSQL plan each statement for its values: in a search, they determine the best
        plan."""
        await self._connection.execute(
            "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL jit = off; "
            "SET LOCAL max_parallel_workers_per_gather = 0"
        )

    async def prefer_hash_lookups(self) -> None:
        """From here on, let statements scan each index once, whatever the planner estimates. By default it would read
        all of 20,000 runs to find a hundred. (10,000 of 400,000 latest values: 3 ms if they are looked up at once, 12
        ms one by one, 50 ms if all are read.)"""
        await self._connection.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL random_page_cost = 1.1; SET LOCAL enable_nestloop = off"
        )

    async def attach(self, connection: PooledConnection) -> ReadTransaction | None:
        """Begin a transaction with the same snapshot on another connection. None if that connection leads to another
        server, for instance after a failover, or if points are distributed over servers that share no snapshot."""
        if not layout_of(connection).shares_snapshots:
            return None
        if server_start_id_of(connection) != server_start_id_of(self._connection):
            return None
        name = await self._connection.fetchval("SELECT pg_export_snapshot()", timeout=self.left_s())
        await connection.execute(f"{_BEGIN}; SET TRANSACTION SNAPSHOT '{name}'", timeout=self.left_s())
        return ReadTransaction(connection, self.visible_epoch, self._deadline)

    async def any_hot(self) -> bool:
        """Whether there are hot points of any series."""
        found: bool = await self._connection.fetchval(hot_store.ANY_ABOVE, self.visible_epoch, timeout=self.left_s())
        return found

    async def stream_hot(self, runs: Collection[UUID], ranks: Collection[int], *, sink: Sink) -> None:
        """Passes the hot batches of some runs and ranks to `sink`, for BatchStream. There may be batches of others,
        too."""
        statement = hot_store.points_above(self.visible_epoch, runs, ranks)
        if layout_of(self._connection).takes_statements_together:
            await self.stream_sql(statement, sink, before="; ".join(_BEGIN_HOT), after="; ".join(_END_HOT))
            return
        await self._execute_each(_BEGIN_HOT)
        await self.stream_sql(statement, sink)
        await self._execute_each(_END_HOT)

    async def _execute_each(self, statements: Sequence[str]) -> None:
        for statement in statements:
            await self._connection.execute(statement, timeout=self.left_s())

    async def with_deadline(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which waits for the caller of the read, until the read has to be over at the latest: an open
        snapshot keeps PostgreSQL from removing old rows. Raises TimeoutError."""
        await with_timeout(work, self._deadline - time.monotonic())

    def left_s(self) -> float:
        """Seconds until the read has to be over. Raises TimeoutError if none are left."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class ReadPool:
    """Opens read transactions, at most `max_reads` at a time, so that slow reads do not take all connections of the
    database. At most `max_waiting` further reads wait, each for at most `wait_s`.

    With a `thread`, `database` has to be that of the thread, and whole reads run there (`run`).
    """

    def __init__(
        self,
        database: Database,
        *,
        max_reads: int,
        thread: ReaderThread | None = None,
        limited: LimitedReads | None = None,
        urgent: UrgentWork | None = None,
        max_waiting: int = _MAX_WAITING,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._database = database
        self._thread = thread
        self._slots = FairSlots("reads", max_reads, max_waiting=max_waiting)
        self._slot: Callable[[], AbstractAsyncContextManager[None]] = (
            contextlib.nullcontext if limited is None else limited.slot
        )
        self._wait_s = wait_s
        self._urgent = urgent

    async def run(self, read: Coroutine[Any, Any, T]) -> T:
        """The result of a whole read, which runs on the loop that has the connections: that of the thread, if there is
        one."""
        with contextlib.nullcontext() if self._urgent is None else self._urgent.under_way():
            return await (read if self._thread is None else self._thread.run(read))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[ReadTransaction]:
        """A transaction whose snapshot holds until the end of the block.

        Raises:
            ReadTooSlow: at the end; what was read may not be complete.
            DatabaseUnavailable: the database does not answer, or the block takes longer than READ_TIMEOUT_S.
            LimitReached: the workspace has as many reads under way as its limits allow; nothing was read.
            Overloaded: too many reads wait, or this one has waited for too long; nothing was read.
        """
        async with self._slot(), self._slots.slot(wait_s=self._wait_s), self._database.acquire() as connection:
            with _as_database_unavailable():
                async with rolled_back_on_error(connection):
                    transaction = await ReadTransaction.begin(connection)
                    yield transaction
                    dropped_epoch = await transaction.commit()
        if dropped_epoch > transaction.visible_epoch:
            raise ReadTooSlow(
                "the read took so long that points were moved to other tables meanwhile, and the result may not be "
                "complete; ask again, for fewer series or steps at a time"
            )

    @contextlib.asynccontextmanager
    async def readers(self, transaction: ReadTransaction, *, two: bool) -> AsyncIterator[list[ReadTransaction]]:
        """The transaction; and with `two` a second one with the same snapshot, if there is a free connection."""
        if not two:
            yield [transaction]
            return
        async with self.second_connection(transaction) as other:
            yield [transaction] if other is None else [transaction, other]

    @contextlib.asynccontextmanager
    async def second_connection(self, transaction: ReadTransaction) -> AsyncIterator[ReadTransaction | None]:
        """A transaction with the same snapshot on another connection, to run two statements at a time. None if the pool
        has no free connection: a read that holds one must not wait for another."""
        if self._database.in_use >= self._database.capacity:
            yield None
            return
        async with self._database.acquire() as connection, rolled_back_on_error(connection):
            other = await transaction.attach(connection)
            yield other
            if other is not None:
                await connection.execute("COMMIT", timeout=transaction.left_s())


async def all_ended(reading: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of statements that run on different connections. If one fails, waits until all have ended before it
    raises the error: that ends the transactions in which they read."""
    results: list[T] = []
    for found in await asyncio.gather(*reading, return_exceptions=True):
        if isinstance(found, BaseException):
            raise found
        results.append(found)
    return results


def whole_read(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Decorator of a method that is a whole read: runs it with `ReadPool.run` of its `_read_pool`."""

    @functools.wraps(method)
    async def run(self: S, /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self._read_pool.run(method(self, *arguments, **named))

    return run


@contextlib.contextmanager
def _as_database_unavailable() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DatabaseUnavailable(
            f"the read took longer than {READ_TIMEOUT_S:.0f} s; ask for fewer series or steps at a time"
        ) from error


async def compute(rows: int, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function that takes a fraction of a microsecond per row; in a thread if it would block the event loop for
    milliseconds."""
    return function(*arguments) if rows <= _FEW_ROWS else await threads.READS.run(function, *arguments)
