"""A curve consists of the series of one run, key and rank, one for each attempt. From its first step on, a newer
attempt replaces older ones. This module finds the sources of its points: summaries of segments, and hot points."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.copy_rows import Rows, body, float64, int64, unix_us
from runstream_service.query.charts.buckets import Float64, Int64
from runstream_service.query.reading import hot_windows
from runstream_service.query.reading.columns import NO_POINTS, Columns, joined
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP, Series, StoredSeries, ranks_of, runs_of
from runstream_service.segments.decode import SUMMARY, ctids
from runstream_service.stores import segment_store

if TYPE_CHECKING:
    from runstream_service.query.reading.read_transaction import ReadTransaction

# Of how many series the summaries are in memory at a time; more if one curve has more attempts.
_BATCH_SERIES = 16


class Axis(Enum):
    """The axis of a chart, which is divided into buckets."""

    STEP = "step"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Range:
    """Positions from `low` to `high`, both included."""

    axis: Axis = Axis.STEP
    low: int = MIN_STEP
    high: int = MAX_STEP

    def steps(self) -> tuple[int, int]:
        """The steps in the range; on the time axis, all steps."""
        return (self.low, self.high) if self.axis is Axis.STEP else (MIN_STEP, MAX_STEP)


@dataclass(frozen=True, slots=True)
class Curve:
    """The series of one run, key and rank, in the order of attempts."""

    attempts: tuple[StoredSeries, ...]

    @property
    def ids(self) -> list[int]:
        """The ids of its series."""
        return [stored.series_id for stored in self.attempts]


def curves_of(stored: Sequence[StoredSeries]) -> list[Curve]:
    """Combine series, in the order (run, key, rank, attempt), into curves."""

    def curve_key(one: StoredSeries) -> tuple[str, str, int]:
        return one.series.run_id, one.series.key, one.series.rank

    return [Curve(tuple(attempts)) for _, attempts in groupby(stored, curve_key)]


@dataclass(slots=True)
class CurveSources:
    """The sources of the points of a curve: segments in columns, and sorted hot points.

    `first`, `last` and their tiebreakers (see buckets.py) are bounds of those points of a segment that are in the
    range.
    """

    series: Series
    range: Range
    series_id: Int64
    ctid: Int64
    max_step: Int64  # points with higher steps are replaced by a newer attempt
    first_step: Int64
    last_step: Int64
    step_stride: Int64
    first: Int64
    first_tiebreaker: Int64
    last: Int64
    last_tiebreaker: Int64
    cut: NDArray[np.bool_]  # some of its points may be out of the range
    # Its points are sorted along the axis, and no tiebreaker is needed to know which of them are in the range.
    in_order: NDArray[np.bool_]
    point_count: Int64
    finite_count: Int64
    first_value: Float64
    last_value: Float64
    min_value: Float64
    max_value: Float64
    sum_value: Float64
    hot_position: Int64
    hot_tiebreaker: Int64
    hot_value: Float64

    @property
    def whole_count(self) -> int:
        """How many points are certainly in the range; more may be, of segments that are cut."""
        return int(self.point_count[~self.cut].sum()) + len(self.hot_position)

    def extent(self) -> tuple[int, int] | None:
        """Bounds of all positions; None if there are no points."""
        lows = [int(column.min()) for column in (self.first, self.hot_position) if len(column)]
        highs = [int(column.max()) for column in (self.last, self.hot_position) if len(column)]
        return (min(lows), max(highs)) if lows else None

    def overlapping(self) -> NDArray[np.bool_]:
        """Whether each segment overlaps another one, or has hot points within its bounds, so that summaries do not say
        which points come first."""
        return overlapping(
            (self.first, self.first_tiebreaker),
            (self.last, self.last_tiebreaker),
            (self.hot_position, self.hot_tiebreaker),
        )


async def batches(
    transaction: ReadTransaction, curves: Sequence[Curve], wanted: Range
) -> AsyncGenerator[list[CurveSources], None]:
    """Yields the sources of all curves, in their order, some curves at a time. Curves without points are left out."""
    stored = [one for curve in curves for one in curve.attempts]
    low, high = wanted.steps()
    if any(len(curve.attempts) > 1 for curve in curves):
        low, high = MIN_STEP, MAX_STEP  # the first step of an attempt may be before the range
    hot_points: dict[int, Columns] = {}
    waiting = list(reversed(curves))
    ids = [one.series_id for one in stored]
    hot = hot_windows.windows(
        transaction, ids, runs=runs_of(stored), ranks=ranks_of(stored), min_step=low, max_step=high
    )
    async with aclosing(hot) as windows:
        async for window in windows:
            for position in range(window.start, window.end):
                hot_points[stored[position].series_id] = window.of(position)
            while batch := _next_batch(waiting, hot_points):
                yield await _load(transaction, batch, wanted, hot_points)
                for curve in batch:
                    for series_id in curve.ids:
                        del hot_points[series_id]


def _next_batch(waiting: list[Curve], hot_points: dict[int, Columns]) -> list[Curve]:
    """Takes the next curves whose hot points were read. A curve with attempts in two windows waits for the second
    one."""
    batch: list[Curve] = []
    count = 0
    while waiting and waiting[-1].attempts[-1].series_id in hot_points:
        count += len(waiting[-1].attempts)
        if batch and count > _BATCH_SERIES:
            break
        batch.append(waiting.pop())
    return batch


async def _load(
    transaction: ReadTransaction, curves: Sequence[Curve], wanted: Range, hot_points: dict[int, Columns]
) -> list[CurveSources]:
    ids = [series_id for curve in curves for series_id in curve.ids]
    first_steps = await _first_steps(transaction, [curve for curve in curves if len(curve.attempts) > 1], hot_points)
    data = await segment_store.summaries(transaction, ids, *wanted.steps())
    rows = SUMMARY.rows(body(data))
    rows = rows[np.argsort(rows["series_id"], kind="stable")]
    edges = int64(rows["series_id"])
    found = []
    for curve in curves:
        parts = []
        for series_id, max_step in zip(curve.ids, _last_steps(curve, first_steps), strict=True):
            own = rows[np.searchsorted(edges, series_id, "left") : np.searchsorted(edges, series_id, "right")]
            parts.append((own, hot_points[series_id], max_step))
        newest = [one.series for one in curve.attempts if len(curve.attempts) == 1 or one.series_id in first_steps]
        if newest:
            found.append(_sources(newest[-1], wanted, parts))
    return found


async def _first_steps(
    transaction: ReadTransaction, curves: Sequence[Curve], hot_points: dict[int, Columns]
) -> dict[int, int]:
    """The first step of each attempt that has points, even if that step is out of the range."""
    ids = [series_id for curve in curves for series_id in curve.ids]
    if not ids:
        return {}
    found = await segment_store.first_steps(transaction, ids)
    for series_id in ids:
        if len(points := hot_points[series_id]):
            step = int(points.step[0])
            found[series_id] = min(found.get(series_id, step), step)
    return found


def _last_steps(curve: Curve, first_steps: dict[int, int]) -> list[int]:
    """For each attempt, the last step that is not replaced: the one before the first step of any newer attempt."""
    last = MAX_STEP
    found = []
    for series_id in reversed(curve.ids):
        found.append(last)
        if series_id in first_steps:
            last = min(last, first_steps[series_id] - 1)
    return found[::-1]


def _sources(series: Series, wanted: Range, parts: Sequence[tuple[Rows, Columns, int]]) -> CurveSources:
    """Combines the attempts of a curve. `parts`: for each attempt its summaries, its sorted hot points, and its last
    step that is not replaced."""
    rows = np.concatenate([rows for rows, _, _ in parts])
    max_step = np.concatenate([np.full(len(rows), np.int64(max(last, MIN_STEP))) for rows, _, last in parts])
    none_left = np.concatenate([np.full(len(rows), last < MIN_STEP) for rows, _, last in parts])
    points = joined([points.between(MIN_STEP, last) if last >= MIN_STEP else NO_POINTS for _, points, last in parts])
    first_step, last_step = int64(rows["first_step"]), int64(rows["last_step"])
    min_time, max_time = unix_us(rows["min_time"]), unix_us(rows["max_time"])
    counts = np.minimum(last_step, max_step)
    if wanted.axis is Axis.STEP:
        first, last, first_tiebreaker, last_tiebreaker = first_step, counts, min_time, max_time
        in_order = np.ones(len(rows), np.bool_)
        hot_position, hot_tiebreaker = points.step, points.time_unix_us
    else:
        first, last, first_tiebreaker, last_tiebreaker = min_time, max_time, first_step, counts
        # Steps are needed to leave out the points that a newer attempt replaced.
        in_order = rows["time_ordered"] & (last_step <= max_step)
        hot_position, hot_tiebreaker = points.time_unix_us, points.step
    kept = (first <= wanted.high) & (last >= wanted.low) & (first_step <= max_step) & ~none_left
    cut = (first < wanted.low) | (last > wanted.high) | (last_step > max_step)
    inside = (hot_position >= wanted.low) & (hot_position <= wanted.high)
    order = np.flatnonzero(inside)
    order = order[np.lexsort((hot_tiebreaker[order], hot_position[order]))]
    rows = rows[kept]
    return CurveSources(
        series=series,
        range=wanted,
        series_id=int64(rows["series_id"]),
        ctid=ctids(rows),
        max_step=max_step[kept],
        first_step=first_step[kept],
        last_step=last_step[kept],
        step_stride=int64(rows["step_stride"]),
        first=np.maximum(first[kept], wanted.low),
        first_tiebreaker=first_tiebreaker[kept],
        last=np.minimum(last[kept], wanted.high),
        last_tiebreaker=last_tiebreaker[kept],
        cut=cut[kept],
        in_order=in_order[kept],
        point_count=int64(rows["point_count"]),
        finite_count=int64(rows["finite_count"]),
        first_value=float64(rows["first_value"]),
        last_value=float64(rows["last_value"]),
        min_value=float64(rows["min_value"]),
        max_value=float64(rows["max_value"]),
        sum_value=float64(rows["sum_value"]),
        hot_position=hot_position[order],
        hot_tiebreaker=hot_tiebreaker[order],
        hot_value=points.value[order],
    )


Pairs = tuple[Int64, Int64]


def overlapping(begin: Pairs, end: Pairs, points: Pairs) -> NDArray[np.bool_]:
    """Whether each span overlaps another one, or has a point strictly inside. Begins, ends and points are pairs that
    compare lexicographically. Spans that only touch do not overlap."""
    count = len(begin[0])
    found = np.zeros(count, np.bool_)
    if not count:
        return found
    by_begin = np.argsort(begin[0], kind="stable")
    apart = (end[0][by_begin[:-1]] < begin[0][by_begin[1:]]).all()
    if apart and not _any_between(points[0], begin[0], end[0]):
        return found
    begins, ends, inner = _ranks(begin, end, points)
    order = np.lexsort((ends, begins))
    reach = np.maximum.accumulate(ends[order])
    found[order[1:]] = begins[order[1:]] < reach[:-1]
    found[order[:-1]] |= ends[order[:-1]] > begins[order[1:]]
    inner.sort()
    found |= np.searchsorted(inner, begins, "right") < np.searchsorted(inner, ends, "left")
    return found


def _any_between(points: Int64, begin: Int64, end: Int64) -> bool:
    """Whether any point lies in any span; points are sorted."""
    return bool((np.searchsorted(points, begin, "left") < np.searchsorted(points, end, "right")).any())


def _ranks(*columns: Pairs) -> list[Int64]:
    """Numbers that compare as the pairs do."""
    major = np.concatenate([column[0] for column in columns])
    minor = np.concatenate([column[1] for column in columns])
    order = np.lexsort((minor, major))
    new = (np.diff(major[order]) != 0) | (np.diff(minor[order]) != 0)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.concatenate([[0], np.cumsum(new)])
    return np.split(rank, np.cumsum([len(column[0]) for column in columns])[:-1])
