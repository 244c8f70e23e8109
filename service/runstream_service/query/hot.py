"""Hot rows of some series, in windows: bounded memory however many there are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.query.columns import NO_POINTS, Columns
from runstream_service.query.series import MAX_STEP, MIN_STEP
from runstream_service.query.spans import spans_of
from runstream_service.storage.copy_rows import Layout, Rows, RowStream, float64, int64, unix_us

if TYPE_CHECKING:
    from runstream_service.query.snapshot import Snapshot

LAYOUT = Layout([("series_id", ">i8"), ("step", ">i8"), ("time", ">i8"), ("value", ">f8")])
# Of each hot row 50 bytes are held at first. One series alone may have more; the hot table is bounded.
MAX_ROWS = 1_000_000
_BLOCK_ROWS = 32_768
# Naming 50,000 series takes 30 ms. An idle system has no hot rows, and knowing that takes less than one.
_MANY_SERIES = 1_000


class HotWindow:
    """All hot points of the series from `start` to `end` of a question, by the position of the series."""

    def __init__(self, start: int, end: int, position: NDArray[np.int64], points: Columns) -> None:
        self.start = start
        self.end = end
        self._first = np.searchsorted(position, np.arange(start, end + 1))
        self._position = position
        self._points = points

    def __len__(self) -> int:
        return len(self._points)

    def of(self, position: int) -> Columns:
        """The points of one series in order."""
        at = position - self.start
        if self._first[at] == self._first[at + 1]:
            return NO_POINTS
        return self._points.part(int(self._first[at]), int(self._first[at + 1])).in_order()

    def latest(self) -> tuple[NDArray[np.int64], Columns]:
        """The point of each series with the greatest (step, time, value), where NaN compares as 0, and its position."""
        points, position = self._points, self._position
        if not len(points):
            return position, points
        starts = np.flatnonzero(np.diff(position, prepend=position[0] - 1))
        newest = np.repeat(np.maximum.reduceat(points.step, starts), np.diff(starts, append=len(position)))
        # Few are left to be sorted.
        last = np.flatnonzero(points.step == newest)
        value = points.value[last]
        order = np.lexsort((np.where(np.isnan(value), 0.0, value), points.time_unix_us[last], position[last]))
        last = last[order]
        ends = np.flatnonzero(np.diff(position[last], append=-1))
        last = last[ends]
        return position[last], Columns(points.step[last], points.time_unix_us[last], points.value[last])


async def windows(
    snapshot: Snapshot,
    series_ids: Sequence[int],
    *,
    min_step: int = MIN_STEP,
    max_step: int = MAX_STEP,
    max_rows: int | None = None,
) -> AsyncGenerator[HotWindow, None]:
    """Windows over all series, in their order, each with at most `max_rows` points unless it is of one series.

    Each window is a scan of the hot rows, so there are as few as memory allows; nearly always one.
    """
    start = 0
    while start < len(series_ids):
        wanted = series_ids[start:]
        collector = _Collector(wanted, MAX_ROWS if max_rows is None else max_rows)
        async with snapshot.hot_rows():  # what is yielded below may be worked on for long
            there = len(series_ids) <= _MANY_SERIES or await _any(snapshot)
            if there:
                arguments = (wanted, snapshot.visible_epoch, min_step, max_step, spans_of(wanted))
                await snapshot.stream("hot_points", *arguments, sink=collector.receive)
        if not there:
            yield HotWindow(start, len(series_ids), np.zeros(0, np.int64), NO_POINTS)
            return
        end, position, points = collector.finish()
        yield HotWindow(start, start + end, position + start, points)
        start += end


async def any_rows(snapshot: Snapshot) -> bool:
    """Whether there are hot rows of any series."""
    async with snapshot.hot_rows():
        return await _any(snapshot)


async def _any(snapshot: Snapshot) -> bool:
    (row,) = await snapshot.fetch("any_hot", snapshot.visible_epoch)
    return bool(row[0])


class _Collector:
    """Keeps the rows of as many series, from the first on, as fit."""

    def __init__(self, series_ids: Sequence[int], max_rows: int) -> None:
        ids = np.array(series_ids, np.int64)
        self._order = np.argsort(ids)
        self._sorted_ids = ids[self._order]
        self._max_rows = max_rows
        self._end = len(ids)
        self._stream = RowStream(LAYOUT, block_rows=_BLOCK_ROWS)
        self._blocks: list[tuple[NDArray[np.int64], Rows]] = []
        self._count = 0

    async def receive(self, data: bytes) -> None:
        for block in self._stream.feed(data):
            self._add(block)

    def finish(self) -> tuple[int, NDArray[np.int64], Columns]:
        """How many series fit, and their points by position (those of one series as they came), with the positions."""
        self._add(self._stream.finish())
        if not self._blocks:
            return self._end, np.zeros(0, np.int64), NO_POINTS
        position = np.concatenate([positions for positions, _ in self._blocks])
        rows = np.concatenate([block for _, block in self._blocks])
        self._blocks = []
        if (position[1:] < position[:-1]).any():
            order = np.argsort(position, kind="stable")
            position, rows = position[order], rows[order]
        return self._end, position, Columns(int64(rows["step"]), unix_us(rows["time"]), float64(rows["value"]))

    def _add(self, rows: Rows) -> None:
        if not len(rows):
            return
        position = self._order[np.searchsorted(self._sorted_ids, int64(rows["series_id"]))]
        self._keep(position, rows)
        if self._count > self._max_rows and self._end > 1:
            self._give_way()

    def _keep(self, position: NDArray[np.int64], rows: Rows) -> None:
        inside = position < self._end
        if not inside.all():
            position, rows = position[inside], rows[inside]
        if len(position):
            self._blocks.append((position, rows))
            self._count += len(position)

    def _give_way(self) -> None:
        """Leaves so many of the last series to the next window that half of the place is free again."""
        counts = np.zeros(self._end, np.int64)
        for position, _ in self._blocks:
            counts += np.bincount(position, minlength=self._end)
        fitting = int(np.searchsorted(np.cumsum(counts), self._max_rows // 2, "right"))
        self._end = max(1, fitting)
        blocks, self._blocks, self._count = self._blocks, [], 0
        for position, rows in blocks:
            self._keep(position, rows)
