"""Histories: streams all points of some series."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.query.history.streaming_merge import Rechunker, StreamingMerge
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.columns import Columns
from runstream_service.query.reading.reader_thread import in_this_loop
from runstream_service.query.reading.series import (
    MAX_STEP,
    MIN_STEP,
    Series,
    StoredSeries,
    ranks_of,
    runs_of,
    series_of_run,
)
from runstream_service.segments.decode import Segment, SegmentStream
from runstream_service.stores import segment_store

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.hot_windows import HotWindow
    from runstream_service.query.reading.read_transaction import ReadPool, ReadTransaction

MAX_PIECE_POINTS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """The arguments of a history. None means no bound, no keys mean all keys. Bounds of steps are inclusive."""

    run_id: str
    keys: Sequence[str] = ()
    rank: int | None = None
    attempt: int | None = None
    min_step: int | None = None
    max_step: int | None = None


Emit = Callable[[Series, Columns], Awaitable[None]]


class History:
    """Reads histories."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    async def read(self, caller: Caller, query: HistoryQuery, emit: Emit) -> None:
        """Passes all points to `emit`: series by series in the order (key, rank, attempt), each sorted by (step, time),
        in pieces of at most MAX_PIECE_POINTS.

        Waits for `emit` before it reads more, so a slow receiver slows PostgreSQL down instead of filling the memory.

        Raises:
            InvalidField: the run id or a key is malformed.
            RunNotFound, ReadTooSlow, LimitReached, Overloaded.
            DatabaseUnavailable: the database does not answer, or the read takes more than 60 s.
        """
        await self._read_pool.run(self._read(caller, query, in_this_loop(emit)))

    async def _read(self, caller: Caller, query: HistoryQuery, emit: Emit) -> None:
        async with self._read_pool.transaction() as transaction:
            await transaction.with_deadline(_stream(transaction, caller, query, emit))


async def _stream(transaction: ReadTransaction, caller: Caller, query: HistoryQuery, emit: Emit) -> None:
    stored = await series_of_run(transaction, caller, query.run_id, query.keys, rank=query.rank, attempt=query.attempt)
    low = MIN_STEP if query.min_step is None else query.min_step
    high = MAX_STEP if query.max_step is None else query.max_step
    await read_series(transaction, stored, emit, low=low, high=high)


async def read_series(
    transaction: ReadTransaction,
    stored: Sequence[StoredSeries],
    emit: Emit,
    *,
    low: int = MIN_STEP,
    high: int = MAX_STEP,
) -> None:
    """Passes the points of known series to `emit`, in their order, with steps from `low` to `high`."""
    ids = [one.series_id for one in stored]
    hot = hot_windows.windows(
        transaction, ids, runs=runs_of(stored), ranks=ranks_of(stored), min_step=low, max_step=high, divide=True
    )
    async with aclosing(hot) as windows:
        async for window in windows:
            await _read_window(transaction, stored, window, emit)


async def _read_window(
    transaction: ReadTransaction, stored: Sequence[StoredSeries], window: HotWindow, emit: Emit
) -> None:
    """Streams the segments with the series and steps of a window, merged with its hot points."""
    output = _Output(stored, window, emit)
    segments = SegmentStream()

    async def receive(data: bytes) -> None:
        for segment in segments.feed(data):
            await output.add(segment)

    ids = [one.series_id for one in stored[window.start : window.end]]
    await segment_store.stream_in_order(transaction, ids, window.low, window.high, receive)
    segments.finish()
    await output.go_to(window.end)


class _Output:
    """Merges and emits the series of a window, one after the other, as their segments arrive."""

    def __init__(self, stored: Sequence[StoredSeries], window: HotWindow, emit: Emit) -> None:
        self._stored = stored
        self._window = window
        self._emit = emit
        self._position = window.start - 1  # of the series that is being read
        self._merge = StreamingMerge()
        self._rechunker = Rechunker(MAX_PIECE_POINTS)

    async def add(self, segment: Segment) -> None:
        """Adds the next segment; its owner is a position within the window, from 1."""
        position = self._window.start + segment.owner - 1
        if position != self._position:
            await self.go_to(position)
        assert segment.step is not None
        assert segment.time_unix_us is not None
        points = Columns(segment.step, segment.time_unix_us, segment.value).between(self._window.low, self._window.high)
        await self._merged(
            self._merge.add(points, first_step=segment.first_step, first_time_unix_us=segment.min_time_unix_us)
        )

    async def go_to(self, position: int) -> None:
        """Emits the rest of the current series, and series without segments up to `position`; begins the one at
        `position` with its hot points."""
        while self._position < position:
            if self._position >= self._window.start:
                await self._merged(self._merge.finish())
                await self._send(self._rechunker.finish())
            self._position += 1
            if self._position < self._window.end:
                points = self._window.of(self._position)
                await self._merged(self._merge.add(points, first_step=MIN_STEP, first_time_unix_us=MIN_STEP))

    async def _merged(self, parts: Iterable[Columns]) -> None:
        for part in parts:
            await self._send(self._rechunker.add(part))

    async def _send(self, pieces: Iterable[Columns]) -> None:
        for piece in pieces:
            await self._emit(self._stored[self._position].series, piece)
