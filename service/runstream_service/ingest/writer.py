"""Collects batches and HTTP writes until the database is free, then commits them as one group.

1. Batches that come in while a group is being committed wait; the next group is all of them. So the size of a group
   follows the load automatically: one batch under little load, tens of thousands of points under much.
2. A group is one transaction on the writer's own connection: begin_group_commit (epoch, writes, ledger), COPY, COMMIT;
   a small group is one statement that does all of that. Its batches and writes are acknowledged only after the
   database has confirmed the commit.
3. If the outcome is not known (connection lost, server stopped, timeout), the same group is tried again on a new
   connection. The ledger and the ids of writes show what had been committed, so an unnecessary try stores nothing
   twice. Meanwhile the budget fills and streams are not read: nothing is lost and memory stays bounded.
4. The new connection may lead to another server: PostgreSQL was restarted, a standby took over, a backup was restored.
   Its state may be older, so that it does not know a series, or has assigned its id to another one. So batches whose
   series were looked up on the former server (`server_start_id` says on which) are not written: their streams have to
   be opened, and their series declared, again.
5. A group that fails repeatedly for an unknown reason is taken apart: each batch and write is tried alone. One that
   fails alone, too, is neither stored nor refused: its stream ends with an error, and its client keeps it. So a batch
   that triggers a bug does not stop the others of its writer. All of that ends before the next group begins, because
   the next batches of those producers have to follow in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from runstream._backoff import Backoff
from runstream_service.concurrency import threads
from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.database.dedicated_connection import DedicatedConnection
from runstream_service.database.pool import server_start_id_of, translate
from runstream_service.errors.core import CommitFailed
from runstream_service.ingest.group import SMALL_GROUP_POINTS, Group, Pending, Verdict
from runstream_service.stores.hot_store import COMMIT_SMALL, HotStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from runstream_service.database.pool import Connection, Database
    from runstream_service.errors.core import CoreError
    from runstream_service.ingest.metrics import IngestMetrics
    from runstream_service.sharing.urgent import UrgentWork

log = structlog.get_logger()

# Bounds the transaction and its buffers: 16 bytes a point, rarely 32, so 2 to 4 MiB a writer.
MAX_GROUP_POINTS = 131_072

# One time limit for all steps of one try. It is above the server's own timeouts (connections.py), so that the server's
# clear error comes first; this one is for a connection that hangs without an error.
_TRY_TIMEOUT_S = 45.0
# How many callers learn the outcomes of their batches or writes per iteration of the event loop.
_CALLERS_AT_ONCE = 16
# Up to this many points, encoding holds the event loop for less than a millisecond.
_ENCODED_AT_ONCE = 16_384
# How many times a group that fails for an unknown reason is tried, and then each of its batches alone.
_TRIES_OF_GROUP, _TRIES_ALONE = 4, 2
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 5.0

_BEGIN = "SELECT * FROM begin_group_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"


class Queue(Protocol):
    """The items that wait for a writer: the methods of a deque that it uses."""

    def append(self, item: Pending, /) -> None:
        """Add an item."""

    def popleft(self) -> Pending:
        """Remove and return the first item."""

    def __getitem__(self, index: Literal[0], /) -> Pending:
        """The first item, which stays in the queue."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Pending]: ...

    def clear(self) -> None:
        """Remove all items."""


class Writer:
    """Commits one group at a time, on a connection of its own. `on_commit` is called after each commit, and
    `on_release` for each item when its outcome is known."""

    _max_group_points = MAX_GROUP_POINTS

    def __init__(
        self,
        name: str,
        database: Database,
        on_release: Callable[[Pending], None],
        metrics: IngestMetrics,
        on_commit: Callable[[], None],
        urgent: UrgentWork | None = None,
    ) -> None:
        """`urgent`: before a large group, the writer pauses for this work."""
        self.name = name
        self._urgent = urgent
        self._on_commit = on_commit
        self._on_release = on_release
        self._metrics = metrics
        # The points that it was handed and that are not committed yet.
        self.points = 0
        self._waiting: Queue = deque()
        self._committing: list[Pending] = []  # the group that is being committed
        self._wake = asyncio.Event()
        self._retry_now = asyncio.Event()
        self._database = database
        self._server_start_id = ""  # of the connection
        self._connection = DedicatedConnection(self._connect)

    def submit(self, item: Pending) -> None:
        """Let an item wait for its commit; its charge was taken from the budget. `item.complete` reports the
        outcome."""
        item.queued_points = item.points
        self.points += item.queued_points
        self._waiting.append(item)
        self._wake.set()

    def retry_now(self) -> None:
        """Try a failed group again at once, because the database is back, instead of after the rest of its backoff."""
        self._retry_now.set()

    @property
    def oldest(self) -> float | None:
        """When the oldest batch or write that is not committed yet was received, by time.monotonic(); None if there is
        none."""
        first = next(iter(self._committing or self._waiting), None)
        return None if first is None else first.received_at

    async def run(self) -> None:
        """Commit groups until cancelled. What is not committed then is dropped, and clients send it to another
        replica."""
        try:
            while True:
                await self._wake.wait()
                if self._urgent is not None and self.points > SMALL_GROUP_POINTS:
                    await self._urgent.wait_while_paused()
                self._committing = self._take_group()
                await self._commit(self._committing)
                self._committing = []
                if not self._waiting:
                    self._wake.clear()
        finally:
            for item in (*self._committing, *self._waiting):
                if not item.completed:
                    item.abandon()
                    self._release(item)
            self._committing = []
            self._waiting.clear()
            self._connection.disconnect()

    def _take_group(self) -> list[Pending]:
        taken = [self._waiting.popleft()]
        points = taken[0].points
        while self._waiting and points + self._waiting[0].points <= self._max_group_points:
            points += self._waiting[0].points
            taken.append(self._waiting.popleft())
        return taken

    async def _commit(self, items: list[Pending], *, tries: int = _TRIES_OF_GROUP) -> None:
        """Commit items; returns when each of them has its outcome. `tries` bounds failures for an unknown reason; while
        the database is away, the group is tried without a bound."""
        backoff = Backoff(_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S, jitter=0.5)
        while items:
            group = Group(items)
            started = time.perf_counter()
            self._retry_now.clear()
            try:
                await self._connection.connect()
                if stale := [item for item in items if item.server_start_id != self._server_start_id]:
                    for item in stale:
                        self._complete(item, item.server_changed_error())
                    items = [item for item in items if not item.completed]
                    continue
                await self._try(group)
            except Exception as exc:
                # Whether the transaction was committed is unknown. The ledger shows it, on a new connection.
                wait_s = backoff.next_s()
                self._report_failure(group, exc, wait_s)
                tries -= translate(exc) is None
                if not tries:
                    if not await self._retry_one_by_one(items, exc):
                        self._give_up(items[0], exc)
                    break
                with contextlib.suppress(TimeoutError):
                    await with_timeout(self._retry_now.wait(), wait_s)
            else:
                self._metrics.group_committed(group, time.perf_counter() - started)
                self._on_commit()
                await self._complete_group(group)
                break

    async def _connect(self) -> Connection:
        connection = await self._database.connect_writer()
        self._server_start_id = server_start_id_of(connection)
        return connection

    async def _try(self, group: Group) -> None:
        """Run one transaction. If it raises, the connection is closed, and the outcome is not known."""
        await self._connection.run(lambda connection: self._transact(connection, group), timeout_s=_TRY_TIMEOUT_S)

    async def _transact(self, connection: Connection, group: Group) -> None:
        """The statements of one group. When one fails, there is no ROLLBACK, which could hang: the connection is
        closed."""
        await self._encode(group)
        if group.is_small:
            # One statement, which is READ COMMITTED by the settings of the connection.
            rows = await connection.fetch(COMMIT_SMALL, *group.begin_arguments(), *group.row_arguments())
            group.apply_verdicts([Verdict(*row) for row in rows])
            return
        # READ COMMITTED, as begin_group_commit needs it, whatever the database's default is.
        await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        rows = await connection.fetch(_BEGIN, *group.begin_arguments())
        group.apply_verdicts([Verdict(*row) for row in rows])
        if (encoded := group.rows()) is not None:
            await self._copy(connection, group.epoch, encoded)
        await connection.execute("COMMIT")

    async def _encode(self, group: Group) -> None:
        started = time.perf_counter()
        if group.points <= _ENCODED_AT_ONCE:
            group.encode()
        else:
            await threads.ENCODING.run(group.encode)
        self._metrics.encode_seconds.observe(time.perf_counter() - started)

    async def _copy(self, connection: Connection, epoch: int, rows: AsyncIterator[bytes]) -> None:
        started = time.perf_counter()
        await HotStore(connection).copy(epoch, rows)
        self._metrics.copy_seconds.observe(time.perf_counter() - started)

    async def _retry_one_by_one(self, items: list[Pending], error: BaseException) -> bool:
        """Commit each item of a failed group alone, so that only the item that causes the error fails. Returns False,
        without a try, if the group is a single item."""
        if len(items) == 1:
            return False
        log.info(
            f"A group of {len(items)} batches and writes cannot be committed; trying each of them alone",
            action="group_isolated",
            writer=self.name,
            batches=len(items),
            error=repr(error),
        )
        for item in items:
            await self._commit([item], tries=_TRIES_ALONE)
        return True

    def _give_up(self, item: Pending, error: Exception) -> None:
        """End the stream of an item that fails alone, for an unknown reason. The item is not refused, as another
        release may be able to store it."""
        log.error(
            f"A batch cannot be committed; its stream ends, and its client keeps it: {error!r}",
            action="batch_failed",
            writer=self.name,
            run_id=item.run_id.hex,
            batch=item.number,
            points=item.points,
            exc_info=error,
        )
        self._complete(
            item,
            CommitFailed(
                f"batch {item.number} of {item.points} points could not be committed because of a bug of the service: "
                f"{type(error).__name__}. It is not stored; the service's log has the cause (batch_failed)"
            ),
        )

    async def _complete_group(self, group: Group) -> None:
        """Report the outcomes in portions: if two hundred streams wrote their acks at once, the event loop could not
        feed the COPY of other writers. All outcomes of a stream are in one portion, so that it sends one message for
        all batches of its producers."""
        outcomes: dict[int, list[tuple[Pending, CoreError | None]]] = {}
        for item, error in group.outcomes():
            outcomes.setdefault(id(item.caller), []).append((item, error))
        for number, of_caller in enumerate(outcomes.values(), start=1):
            for item, error in of_caller:
                self._complete(item, error)
            if number % _CALLERS_AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _complete(self, item: Pending, error: CoreError | None) -> None:
        item.complete(error)
        self._release(item)

    def _release(self, item: Pending) -> None:
        item.completed = True
        self.points -= item.queued_points
        self._on_release(item)

    def _report_failure(self, group: Group, error: Exception, wait_s: float) -> None:
        self._metrics.commit_failed(error)
        log.warning(
            f"a group commit of {group.points} points failed; trying it again: {error!r}",
            action="group_commit_failed",
            writer=self.name,
            points=group.points,
            retry_in_s=round(wait_s, 3),
            error=repr(error),
        )


class QuietWriter(Writer):
    """The writer for workspaces with few points while others fill the queue.

    Its groups are small, each is one statement. The workspace with the fewest points here comes first, since one that
    was quiet may have become busy. It connects when it is first used, so with a single workspace never.
    """

    _max_group_points = SMALL_GROUP_POINTS

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._waiting = FewestFirst()


class FewestFirst:
    """A queue in which items of the workspace with the fewest points come first; those of one workspace come in the
    order of their arrival."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Pending]] = {}
        self._points: dict[int, int] = {}
        self._length = 0

    def append(self, item: Pending, /) -> None:
        """Add an item."""
        self._queues.setdefault(item.workspace_id, deque()).append(item)
        self._points[item.workspace_id] = self._points.get(item.workspace_id, 0) + item.queued_points
        self._length += 1

    def popleft(self) -> Pending:
        """Remove and return the first item."""
        workspace_id = self._first_workspace()
        item = self._queues[workspace_id].popleft()
        self._points[workspace_id] -= item.queued_points
        self._length -= 1
        if not self._queues[workspace_id]:
            del self._queues[workspace_id], self._points[workspace_id]
        return item

    def __getitem__(self, _index: Literal[0], /) -> Pending:
        """The first item, which stays in the queue."""
        return self._queues[self._first_workspace()][0]

    def _first_workspace(self) -> int:
        return min(self._queues, key=self._points.__getitem__)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Pending]:
        return itertools.chain.from_iterable(self._queues.values())

    def clear(self) -> None:
        """Remove all items."""
        self._queues.clear()
        self._points.clear()
        self._length = 0
