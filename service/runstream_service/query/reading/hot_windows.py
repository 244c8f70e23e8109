"""Reads the hot points of some series in windows, so that memory is bounded however many points there are."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runstream_service.concurrency import threads
from runstream_service.database.copy_rows import EPOCH_2000_UNIX_US
from runstream_service.database.metric_values import comparable
from runstream_service.errors.core import Overloaded
from runstream_service.query.reading.columns import NO_POINTS, Columns, joined
from runstream_service.query.reading.read_transaction import compute
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP
from runstream_service.segments.best_values import BestValues, best_values
from runstream_service.stores.hot_batches import BatchStream

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.query.reading.read_transaction import ReadTransaction
    from runstream_service.stores.hot_batches import HotPoints

# The most points of a window; each takes 32 bytes, and twice that while they are sorted.
MAX_POINTS = 1_000_000
# The most hot points of one series, for reads that need all of them at once; or of one step of one series. Only a
# backfill has more, and its points are in segments after a minute or two.
MAX_POINTS_OF_ONE = 2_000_000
_RETRY_AFTER_S = 10.0
# How many bytes are decoded at once, at 16 bytes a point: 100,000 points, in a thread. Up to _FEW_BYTES are decoded on
# the event loop.
_BLOCK_BYTES = 1_600_000
_FEW_BYTES = 50_000
# For more series than this, check first whether there are any hot points: that takes less than 1 ms, and an idle system
# has none.
_MANY_SERIES = 1_000


class HotWindow:
    """The hot points of the series at positions `start` to `end` of a query, with steps from `low` to `high`. These are
    all requested steps, unless the window is a part of one series."""

    def __init__(self, start: int, end: int, low: int, high: int, points: _OrderedPoints) -> None:
        self.start = start
        self.end = end
        self.low = low
        self.high = high
        self._position, self._points = points
        self._first = np.searchsorted(self._position, np.arange(end - start + 1))

    def __len__(self) -> int:
        return len(self._points)

    def of(self, position: int) -> Columns:
        """The points of the series at a position, sorted."""
        at = position - self.start
        if self._first[at] == self._first[at + 1]:
            return NO_POINTS
        return self._points.part(int(self._first[at]), int(self._first[at + 1]))

    def latest(self) -> tuple[NDArray[np.int64], Columns]:
        """The positions of the series that have points here, and the latest point of each: the greatest (step, time,
        value), where NaN compares as 0."""
        points, position = self._points, self._position
        if not len(points):
            return np.zeros(0, np.int64), points
        starts = np.flatnonzero(np.diff(position, prepend=position[0] - 1))
        newest = np.repeat(np.maximum.reduceat(points.step, starts), np.diff(starts, append=len(position)))
        # Only few are left to be sorted.
        last = np.flatnonzero(points.step == newest)
        value = points.value[last]
        order = np.lexsort((comparable(value), points.time_unix_us[last], position[last]))
        last = last[order]
        ends = np.flatnonzero(np.diff(position[last], append=-1))
        last = last[ends]
        return position[last].astype(np.int64) + self.start, points.take(last)

    def best(self) -> tuple[NDArray[np.int64], BestValues]:
        """The positions of the series that have points here, and the best values of each."""
        starts = np.flatnonzero(np.diff(self._position, prepend=-1))
        position = self._position[starts].astype(np.int64) + self.start
        return position, best_values(self._points.value, self._points.step, starts)


async def windows(
    transaction: ReadTransaction,
    series_ids: Sequence[int] | NDArray[np.int64],
    *,
    runs: Collection[UUID],
    ranks: Collection[int],
    min_step: int = MIN_STEP,
    max_step: int = MAX_STEP,
    max_points: int | None = None,
    divide: bool = False,
) -> AsyncGenerator[HotWindow, None]:
    """Yields windows over all series, in their order. A window has at most `max_points` points, or a single series.
    `runs` and `ranks`: those of the series, by which batches are found.

    `divide`: a series with more points is divided by steps into several windows. Each window reads the batches again,
    so there are as few windows as memory allows; nearly always one.

    Raises:
        Overloaded: one series, or with `divide` one step of one series, has more than MAX_POINTS_OF_ONE hot points.
    """
    start, low = 0, min_step
    while start < len(series_ids):
        wanted = series_ids[start:] if low == min_step else series_ids[start : start + 1]
        limit = MAX_POINTS if max_points is None else max_points
        collect = functools.partial(_Collector, wanted, limit, low, max_step, divide=divide)
        collector = await compute(len(wanted), collect)  # which sorts the series
        there = len(series_ids) <= _MANY_SERIES or await transaction.any_hot()
        if not there:
            yield HotWindow(start, len(series_ids), min_step, max_step, (np.zeros(0, np.int32), NO_POINTS))
            return
        await transaction.stream_hot(runs, ranks, sink=collector.receive)
        points = await collector.finish()
        yield HotWindow(start, start + collector.end, low, collector.high, points)
        del points
        if collector.high < max_step:
            low = collector.high + 1
        else:
            start, low = start + collector.end, min_step


async def any_points(transaction: ReadTransaction) -> bool:
    """Whether there are hot points of any series."""
    return await transaction.any_hot()


# Positions of series, and their points, in the order (position, step, time).
_OrderedPoints: TypeAlias = "tuple[NDArray[np.int32], Columns]"


class _Collector:
    """Collects the points of one window: of as many series as fit, from the first on; or, if a series may be divided,
    of as many of its steps as fit. Afterwards `end` and `high` say which were left for the next window."""

    def __init__(
        self,
        series_ids: Sequence[int] | NDArray[np.int64],
        max_points: int,
        min_step: int,
        max_step: int,
        *,
        divide: bool,
    ) -> None:
        ids = np.array(series_ids, np.int64)
        self._order = np.argsort(ids).astype(np.int32)
        self._sorted_ids = ids[self._order]
        self._max_points = max_points
        self._divide = divide
        self.end = len(ids)
        self._low, self.high = min_step, max_step
        self._stream = BatchStream()
        self._blocks: list[_OrderedPoints] = []
        self._count = 0
        self._too_many = False
        self._lowest = MAX_STEP  # the lowest step that was kept

    async def receive(self, data: bytes) -> None:
        """Add a portion of the COPY; decodes it when there is enough."""
        self._stream.feed(data)
        if self._stream.waiting_bytes >= _BLOCK_BYTES:
            await threads.READS.run(self._take)

    async def finish(self) -> _OrderedPoints:
        """The points that fit, sorted. Points of a series with equal (step, time) stay in the order of arrival. Raises
        Overloaded."""
        if self._stream.waiting_bytes <= _FEW_BYTES:
            self._add(self._stream.finish())
        else:
            await threads.READS.run(lambda: self._add(self._stream.finish()))
        if self._too_many:
            raise Overloaded(
                f"a series has more than {MAX_POINTS_OF_ONE:,} points that are not rolled up yet; try again in a "
                "minute",
                retry_after_s=_RETRY_AFTER_S,
            )
        return await compute(self._count, self._put_in_order)

    def _take(self) -> None:
        self._add(self._stream.take())

    def _put_in_order(self) -> _OrderedPoints:
        if not self._blocks:
            return np.zeros(0, np.int32), NO_POINTS
        position = np.concatenate([positions for positions, _ in self._blocks])
        points = joined([points for _, points in self._blocks])
        self._blocks = []
        if _in_order(position, points):
            return position, points
        order = np.lexsort((points.time_unix_us, points.step, position))
        return position[order], points.take(order)

    def _add(self, points: HotPoints) -> None:
        if self._too_many or not len(points):
            return
        # Batches have the points of all series of a rank.
        index = np.minimum(np.searchsorted(self._sorted_ids, points.series_id), len(self._sorted_ids) - 1)
        wanted = np.flatnonzero(
            (self._sorted_ids[index] == points.series_id) & (points.step >= self._low) & (points.step <= self.high)
        )
        time_unix_us = points.time[wanted] + EPOCH_2000_UNIX_US
        self._keep(self._order[index[wanted]], Columns(points.step[wanted], time_unix_us, points.value[wanted]))
        if self._count > self._max_points and self.end > 1:
            self._evict_series()
        if self._count > self._max_points and self.end == 1 and self._divide and self.high > self._lowest:
            self._evict_steps()
        if self._count > max(self._max_points, MAX_POINTS_OF_ONE) and self.end == 1:
            # Raise it in `finish`: if the sink raised, the driver would wait in vain for the rest of the COPY.
            self._too_many, self._blocks = True, []

    def _keep(self, position: NDArray[np.int32], points: Columns) -> None:
        inside = (position < self.end) & (points.step <= self.high)
        if not inside.all():
            position, points = position[inside], points.take(inside)
        if len(position):
            self._blocks.append((position, points))
            self._count += len(position)
            self._lowest = min(self._lowest, int(points.step.min()))

    def _keep_again(self) -> None:
        blocks, self._blocks, self._count = self._blocks, [], 0
        for position, points in blocks:
            self._keep(position, points)

    def _evict_series(self) -> None:
        """Leaves series to the next window, from the last on, until half of the room is free again."""
        counts = np.zeros(self.end, np.int64)
        for position, _ in self._blocks:
            counts += np.bincount(position, minlength=self.end)
        fitting = int(np.searchsorted(np.cumsum(counts), self._max_points // 2, "right"))
        self.end = max(1, fitting)
        self._keep_again()

    def _evict_steps(self) -> None:
        """Leaves steps to the next window, from the highest on, until half of the room is free again, or one step is
        left."""
        steps = np.concatenate([points.step for _, points in self._blocks])
        half = int(np.partition(steps, self._max_points // 2)[self._max_points // 2])
        self.high = half - 1 if half > self._lowest else self._lowest
        self._keep_again()


def _in_order(position: NDArray[np.int32], points: Columns) -> bool:
    same = position[1:] == position[:-1]
    in_order = (points.step[1:] > points.step[:-1]) | (
        (points.step[1:] == points.step[:-1]) & (points.time_unix_us[1:] >= points.time_unix_us[:-1])
    )
    return bool(((position[1:] > position[:-1]) | (same & in_order)).all())
