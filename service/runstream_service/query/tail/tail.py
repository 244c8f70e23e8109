"""Live tail: sends each new point of a run, once, to every caller that follows it, soon after its commit.

1. One reader in each replica looks for new commits when it is notified, or once a second, and reads their rows for all
   streams at once (commit_reader.py). The cursor of a stream says what it has been sent; the reader begins at the
   oldest cursor.
2. Each stream has a queue of bounded size. When it is full, the stream leaves the shared reading and reads alone from
   its own cursor, a portion at a time, until it has caught up; then it takes part again. So a slow caller delays no
   other stream and takes a bounded amount of memory.
3. The result does not depend on the order of commits, on notifications, or on the replica: a cursor is a snapshot, and
a
   commit that was not visible in it, and is now, is new (cursor.py).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import copy
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import structlog

from runstream_service.concurrency.deadlines import with_timeout
from runstream_service.core.names import parse_run_id
from runstream_service.core.stream_lifetime import StreamLifetime
from runstream_service.database.pool import server_start_id_of, translated
from runstream_service.errors.core import CoreError, CursorTooOld, Draining, RunNotFound
from runstream_service.query.reading.series import Series, check_keys
from runstream_service.query.tail.commit_reader import (
    SQL,
    Commit,
    CommitReader,
    CommitRows,
    CommitScan,
    Int64s,
    SeriesPoints,
)
from runstream_service.query.tail.cursor import Cursor
from runstream_service.query.tail.messages import TailMessage, messages
from runstream_service.sharing.slots import FairSlots
from runstream_service.sharing.stream_slots import StreamSlots

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.database.commit_notifier import CommitNotifier
    from runstream_service.database.pool import Database, PooledConnection
    from runstream_service.query.tail.metrics import TailMetrics

log = structlog.get_logger()

MAX_STREAMS = 256
# Bounds of the points in the queue of a stream, and of all streams; a point takes 24 bytes. An empty queue takes a
# message of any size (3 MB at most).
MAX_QUEUED_POINTS = 65_536
MAX_QUEUED_POINTS_OF_ALL = 1_000_000
_POLL_AT_LEAST_EVERY_S = 1.0
# Under a light load, a point waits at most this long, and equally long for its notification (commit_notifier.py). Under
# a heavy load, the pause below bounds the cost of reading.
_POLL_AT_MOST_EVERY_S = 0.05
# Ends a reading whose connection hangs without an error.
_POLL_WITHIN_S = 30.0
# The shared reader pauses twice as long as it worked, but at most _MAX_PAUSE_S, so that points are not late.
_PAUSE_FACTOR, _MAX_PAUSE_S = 2, 0.2
# A stream without new points gets the current cursor this often, so that it can be continued after minutes of silence.
CURSOR_EVERY_S = 5.0
_MAX_CATCHING_UP = 2
_MAX_CACHED_NAMES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TailQuery:
    """The arguments of a tail. No keys mean all keys, no rank all ranks, and no cursor from now on."""

    run_id: str
    keys: Sequence[str] = ()
    rank: int | None = None
    cursor: bytes = b""


# Called with the new points of each series, and the cursor after them.
Emit = Callable[[list[tuple[Series, SeriesPoints]], Cursor], Awaitable[None]]


@dataclass(eq=False, slots=True)
class _Stream:
    """One call of Tail. All points up to `cursor` are in its queue, or were sent."""

    caller: Caller
    run_id: UUID
    keys: list[str] | None
    rank: int | None
    cursor: Cursor
    queue: collections.deque[TailMessage] = field(default_factory=collections.deque)
    queued_points: int = 0
    shared: bool = False  # takes part in the shared reading
    error: BaseException | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def selection(self) -> tuple[int, UUID, tuple[str, ...] | None, int | None]:
        """Streams with the same arguments share the query for their series."""
        return (self.caller.workspace_id, self.run_id, tuple(self.keys) if self.keys else None, self.rank)

    def put(self, message: TailMessage) -> None:
        self.queue.append(message)
        self.queued_points += message.points
        self.cursor = message.cursor
        self.wake.set()

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error
        self.wake.set()


class Tail:
    """All tails of one replica. `run` has to run as long as there are streams."""

    def __init__(
        self,
        database: Database,
        notifier: CommitNotifier,
        metrics: TailMetrics,
        lifetime: StreamLifetime | None = None,
        *,
        max_catching_up: int = _MAX_CATCHING_UP,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._metrics = metrics
        self._reader = CommitReader()
        self._streams: set[_Stream] = set()
        self._any_shared = asyncio.Event()
        self._catch_up_slots = FairSlots("tails", max_catching_up)
        self._slots = StreamSlots(MAX_STREAMS, "tails")
        self._names: dict[int, Series] = {}
        self._names_from = ""  # a server_start_id
        self._draining = False
        self._lifetime = lifetime or StreamLifetime()

    # -- streams -----------------------------------------------------------------------------------------------------

    async def read(self, caller: Caller, query: TailQuery, emit: Emit) -> None:
        """Passes new points to `emit` as they are committed, until it is cancelled or fails.

        The first message has no points, only the cursor of the query, or else the current one.

        Raises:
            InvalidField: the run id, a key or the cursor is malformed.
            RunNotFound: there is no such run, or it was purged.
            CursorTooOld: points after the cursor may be gone; begin without one, then read History.
            Overloaded, Draining, DatabaseUnavailable: continue elsewhere, or later, from the last cursor.
        """
        run_id = parse_run_id(query.run_id, field="run_id")
        check_keys(query.keys)
        since = Cursor.decode(query.cursor) if query.cursor else None
        keys = sorted(set(query.keys)) or None
        with self._slot(caller):
            await self._read(caller, run_id, keys, query.rank, since, emit)

    async def _read(
        self, caller: Caller, run_id: UUID, keys: list[str] | None, rank: int | None, since: Cursor | None, emit: Emit
    ) -> None:
        async with self._catch_up_slots.slot(), self._database.snapshot() as connection:
            scan = await self._reader.scan(connection, since)
            stream = _Stream(caller, run_id, keys, rank, since or scan.cursor)
            await self._series_of(connection, stream)
        if self._draining:
            raise _draining()
        self._streams.add(stream)
        self._metrics.streams.inc()
        try:
            with self._lifetime.limit(caller, stream.fail):
                await self._serve(stream, emit, catching_up=since is not None)
        finally:
            self._streams.discard(stream)
            self._metrics.streams.dec()

    async def _serve(self, stream: _Stream, emit: Emit, *, catching_up: bool) -> None:
        """Serves a stream from its cursor on (`catching_up`), or from now on. It catches up whenever it has fallen
        behind."""
        await emit([], stream.cursor)
        while True:
            while catching_up and await self._catch_up(stream):
                await self._send(stream, emit)
            await self._send(stream, emit)
            self._subscribe(stream)
            await self._serve_shared(stream, emit)
            catching_up = True

    def drain(self) -> None:
        """Take no new streams and end the open ones; their callers continue on other replicas from their cursors."""
        self._draining = True
        for stream in self._streams:
            stream.fail(_draining())

    @contextlib.contextmanager
    def _slot(self, caller: Caller) -> Iterator[None]:
        if self._draining:
            raise _draining()
        with self._slots.slot(caller):
            yield

    def _subscribe(self, stream: _Stream) -> None:
        stream.shared = True
        self._any_shared.set()

    async def _serve_shared(self, stream: _Stream, emit: Emit) -> None:
        """Sends what the shared reader puts into the queue. Returns when the stream has fallen behind and its queue is
        sent."""
        while stream.shared:
            try:
                await with_timeout(stream.wake.wait(), CURSOR_EVERY_S)
            except TimeoutError:
                if not stream.queue:  # otherwise the cursor is ahead of the messages that were sent
                    await emit([], stream.cursor)
            stream.wake.clear()
            await self._send(stream, emit)

    async def _send(self, stream: _Stream, emit: Emit) -> None:
        """Sends the queue. If the stream has failed, raises its error at once: the caller gets the rest when it
        continues from its last cursor."""
        while stream.error is None and stream.queue:
            message = stream.queue.popleft()
            stream.queued_points -= message.points
            await emit(message.entries, message.cursor)
            self._metrics.points.inc(message.points)
        if stream.error is not None:
            raise stream.error

    async def _catch_up(self, stream: _Stream) -> bool:
        """Reads the next portion after the stream's cursor into its queue. Returns whether there is more."""
        async with self._catch_up_slots.slot(), self._database.snapshot() as connection:
            scan = await self._reader.scan(connection, stream.cursor)
            series_ids = await self._series_of(connection, stream)
            portion = next(scan.portions(), None)
            if portion is None:
                stream.cursor = scan.cursor
                return False
            rows = await self._reader.read(connection, portion, [stream.run_id], series_ids)
            names = await self._names_of(connection, rows)
        for message in messages(scan, portion, rows, stream.cursor, series_ids, names):
            stream.put(message)
        stream.cursor = scan.after(portion, stream.cursor)
        return portion[-1] != scan.commits[-1]

    # -- the shared reader -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Reads new commits for all streams, until cancelled."""
        while True:
            await self._any_shared.wait()
            began = time.monotonic()
            shared = [stream for stream in self._streams if stream.shared]
            if not shared:
                self._any_shared.clear()
                continue
            try:
                with translated():
                    await with_timeout(self._poll(shared), _POLL_WITHIN_S)
            except CursorTooOld:
                # The database was away for too long. Each stream finds out alone whether its own cursor is too old.
                for stream in shared:
                    self._unsubscribe(stream)
            except Exception as error:
                if not isinstance(error, CoreError):
                    log.exception("Reading new commits failed because of a bug; all tails end", action="tail_failed")
                for stream in shared:
                    stream.fail(copy.copy(error))  # each raises its own
                    stream.shared = False
            took = time.monotonic() - began
            self._metrics.poll_seconds.observe(took)
            await asyncio.sleep(max(_POLL_AT_MOST_EVERY_S - took, min(_PAUSE_FACTOR * took, _MAX_PAUSE_S)))
            await self._notifier.wait(_POLL_AT_LEAST_EVERY_S)

    async def _poll(self, streams: list[_Stream]) -> None:
        """Reads new commits once, for some streams. Streams whose queue is full fall behind."""
        # Cursors of shared streams are real snapshots, which have an order: a stream joins after a complete reading.
        since = min((stream.cursor for stream in streams), key=lambda cursor: cursor.snapshot.age)
        async with self._database.snapshot() as connection:
            scan = await self._reader.scan(connection, since)
            for stream in streams:
                if stream.cursor.lineage != scan.lineage:
                    self._unsubscribe(stream)  # it then finds out that its cursor is too old
            streams = [stream for stream in streams if stream.shared]
            if scan.commits:
                series = await self._series_of_all(connection, streams)
                streams = [stream for stream in streams if stream.selection in series]
                wanted = list(series.values())
                series_ids = np.unique(np.concatenate(wanted)) if wanted else np.zeros(0, np.int64)
                runs = {stream.run_id for stream in streams}
                for portion in scan.portions():
                    rows = await self._reader.read(connection, portion, runs, series_ids)
                    names = await self._names_of(connection, rows)
                    streams = self._distribute(scan, portion, rows, names, streams, series)
        for stream in streams:
            stream.cursor = scan.cursor

    def _distribute(
        self,
        scan: CommitScan,
        portion: list[Commit],
        rows: CommitRows,
        names: Mapping[int, Series],
        streams: list[_Stream],
        series: dict[object, Int64s],
    ) -> list[_Stream]:
        """Puts the rows of a portion into the queues. Returns the streams that keep up. The others take no part in the
        rest of this reading: before it ends, they may have read alone and joined again with a newer cursor."""
        room = MAX_QUEUED_POINTS_OF_ALL - sum(stream.queued_points for stream in self._streams)
        keep_up = []
        for stream in streams:
            for message in messages(scan, portion, rows, stream.cursor, series[stream.selection], names):
                fits = not stream.queue or stream.queued_points + message.points <= MAX_QUEUED_POINTS
                if not fits or message.points > room:
                    self._unsubscribe(stream)
                    break
                stream.put(message)
                room -= message.points
            else:
                keep_up.append(stream)
        return keep_up

    def _unsubscribe(self, stream: _Stream) -> None:
        stream.shared = False
        stream.wake.set()
        self._metrics.fell_behind.inc()

    # -- series ------------------------------------------------------------------------------------------------------

    async def _series_of(self, connection: PooledConnection, stream: _Stream) -> Int64s:
        """The ids of the series that a stream follows now, sorted. Raises RunNotFound."""
        found = await connection.fetchval(
            SQL["series"], stream.caller.workspace_id, stream.run_id, stream.keys, stream.rank
        )
        if found is None:
            raise RunNotFound(f"no run with id {stream.run_id.hex}", field="run_id")
        return np.sort(np.array(found, np.int64))

    async def _series_of_all(self, connection: PooledConnection, streams: list[_Stream]) -> dict[object, Int64s]:
        """The ids of series for each selection of the streams. They are read each time, to include new series and
        exclude deleted ones."""
        series: dict[object, Int64s] = {}
        for stream in streams:
            if stream.selection not in series:
                try:
                    series[stream.selection] = await self._series_of(connection, stream)
                except RunNotFound as error:
                    stream.fail(error)
                    stream.shared = False
        return series

    async def _names_of(self, connection: PooledConnection, rows: CommitRows) -> dict[int, Series]:
        """The names of the series of some rows, in a dict of their own: another reading may clear the cache."""
        if len(self._names) > _MAX_CACHED_NAMES or self._names_from != server_start_id_of(connection):
            self._names = {}
            self._names_from = server_start_id_of(connection)
        kept = self._names
        found = np.unique(rows.series_id).tolist()
        names = {series_id: kept[series_id] for series_id in found if series_id in kept}
        unknown = [series_id for series_id in found if series_id not in names]
        if unknown:
            for series_id, run_id, key, rank, attempt in await connection.fetch(SQL["names"], unknown):
                names[series_id] = Series(run_id.hex, key, rank, attempt)
            kept.update((series_id, names[series_id]) for series_id in unknown)
        return names


def _draining() -> Draining:
    return Draining("this replica shuts down; continue on another one from the last cursor", retry_after_s=0.1)
