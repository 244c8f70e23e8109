"""Cuts sorted points into segments, and finds their summaries and the smallest encoding that fits them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runstream_service.segments.points import Float64Column, Int64Column, Points, series_starts

# The most points of a segment. PostgreSQL stores long arrays in pieces of 1,996 bytes, four to a page. The 20 bytes of
# an array's header and 988 elements of 4 bytes fit into two pieces; elements of 2 bytes fit into one. With more points,
# a further piece would hold the last few bytes, and most of a page would stay empty (measured, for times of 4 bytes:
# with 500 points 11.7 bytes a point, with 494 points 8.8).
MAX_POINTS = 988

_MAX_OFFSET = np.iinfo(np.int32).max
_RESIDUALS = np.iinfo(np.int16)
# PostgreSQL multiplies intervals by doubles, which are exact up to 2**53.
_MAX_LINE_US = 1 << 52


@dataclass(slots=True)
class Segments:
    """Segments of `points`, which are sorted: segment i has the points from starts[i] up to starts[i] + counts[i].

    The columns mean what those of the table metric_segments mean (migrations/0002_segments.sql).
    """

    points: Points
    starts: NDArray[np.intp]
    counts: Int64Column
    series_id: Int64Column
    first_step: Int64Column
    last_step: Int64Column
    min_time: Int64Column
    max_time: Int64Column
    finite_count: Int64Column
    min_value: Float64Column  # like max_value and sum_value, undefined if finite_count is 0
    max_value: Float64Column
    sum_value: Float64Column
    first_value: Float64Column
    last_value: Float64Column
    time_ordered: NDArray[np.bool_]
    step_stride: Int64Column  # undefined if steps are not regular
    regular_steps: NDArray[np.bool_]
    time_stride: Int64Column
    time_residual: Int64Column  # of each point: its distance from the line min_time + i * time_stride
    times_as_int16: NDArray[np.bool_]  # as residuals of 2 bytes
    times_as_int32: NDArray[np.bool_]  # as offsets of 4 bytes
    values_as_float32: NDArray[np.bool_]  # as values of 4 bytes

    def __len__(self) -> int:
        return len(self.starts)


def build_segments(points: Points) -> Segments:
    """Cut sorted points (points.in_order): each series into full segments, and one segment with the rest."""
    starts = _starts(points)
    counts = np.diff(starts, append=len(points)).astype(np.int64)
    lasts = starts + counts - 1
    with np.errstate(all="ignore"):  # infinities, NaN, and sums beyond the largest double are allowed
        finite_count, min_value, max_value, sum_value = _finite_summaries(points.value, starts, counts)
        stride, regular = _strides(points.step, starts, counts)
        min_time, max_time = _reduce(np.minimum, points.time, starts), _reduce(np.maximum, points.time, starts)
        time_stride, time_residual, times_as_int16 = _fit_time_lines(points.time, starts, counts, min_time, max_time)
        values_as_float32 = ~_any(_changes_as_float32(points.value), starts)
    return Segments(
        points=points,
        starts=starts,
        counts=counts,
        series_id=points.series_id[starts],
        first_step=points.step[starts],
        last_step=points.step[lasts],
        min_time=min_time,
        max_time=max_time,
        finite_count=finite_count,
        min_value=min_value,
        max_value=max_value,
        sum_value=sum_value,
        first_value=points.value[starts],
        last_value=points.value[lasts],
        time_ordered=~_any(_decreases(points.time, starts), starts),
        step_stride=stride,
        regular_steps=regular,
        time_stride=time_stride,
        time_residual=time_residual,
        times_as_int16=times_as_int16,
        times_as_int32=max_time - min_time <= _MAX_OFFSET,
        values_as_float32=values_as_float32,
    )


def split(points: Points, max_points: int) -> list[Points]:
    """Divides sorted points into parts of about `max_points`, between two segments: building segments part by part
    gives the same result as all at once, in bounded memory."""
    starts = _starts(points)
    edges = np.searchsorted(starts, np.arange(0, len(points), max_points))
    firsts = np.unique(starts[np.minimum(edges, len(starts) - 1)]).tolist() if len(starts) else []
    return [points.take(slice(first, end)) for first, end in itertools.pairwise([*firsts, len(points)])]


def _starts(points: Points) -> NDArray[np.intp]:
    of_series = series_starts(points)
    counts = np.diff(of_series, append=len(points))
    pieces = -(-counts // MAX_POINTS)
    series = np.repeat(np.arange(len(of_series)), pieces)
    piece = np.arange(len(series)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts: NDArray[np.intp] = of_series[series] + piece * MAX_POINTS
    return starts


def _finite_summaries(
    value: Float64Column, starts: NDArray[np.intp], counts: Int64Column
) -> tuple[Int64Column, Float64Column, Float64Column, Float64Column]:
    finite = np.isfinite(value)
    if finite.all():
        low = high = terms = value
        count = counts
    else:
        low, high, terms = (np.where(finite, value, other) for other in (np.inf, -np.inf, 0.0))
        count = _reduce(np.add, finite.astype(np.int64), starts)
    return count, _reduce(np.minimum, low, starts), _reduce(np.maximum, high, starts), _reduce(np.add, terms, starts)


def _strides(step: Int64Column, starts: NDArray[np.intp], counts: Int64Column) -> tuple[Int64Column, NDArray[np.bool_]]:
    """For each segment, the difference of its first two steps (0 if it has one), and whether all steps have this
    distance.

    Steps may be any 64-bit numbers, so a difference may wrap around and be negative. Then the steps do not count as
    regular: first_step + i * step_stride must not overflow for readers either.
    """
    distance = np.empty_like(step)
    np.subtract(step[1:], step[:-1], out=distance[1:])
    second = np.minimum(starts + 1, len(step) - 1)
    stride = np.where(counts > 1, distance[second] if len(step) else 0, 0)
    distance[starts] = stride  # instead of the distance to the segment before
    same = (_reduce(np.minimum, distance, starts) == stride) & (_reduce(np.maximum, distance, starts) == stride)
    span = step[starts + counts - 1] - step[starts]
    return stride, same & (stride >= 0) & (span >= 0)


def _fit_time_lines(
    time: Int64Column, starts: NDArray[np.intp], counts: Int64Column, min_time: Int64Column, max_time: Int64Column
) -> tuple[Int64Column, Int64Column, NDArray[np.bool_]]:
    """For each segment, the stride of a line of times; for each point, the distance of its time from that line; and for
    each segment, whether 2 bytes are enough for all distances."""
    span = max_time - min_time
    stride = span // np.maximum(counts - 1, 1)
    position = np.arange(len(time)) - np.repeat(starts, counts)
    residual = time - np.repeat(min_time, counts) - position * np.repeat(stride, counts)
    least, greatest = _reduce(np.minimum, residual, starts), _reduce(np.maximum, residual, starts)
    times_as_int16 = (least >= _RESIDUALS.min) & (greatest <= _RESIDUALS.max) & (span <= _MAX_LINE_US)
    return stride, residual, times_as_int16


def _changes_as_float32(value: Float64Column) -> NDArray[np.bool_]:
    """Whether each value would change if it was stored in 4 bytes. -0.0 and infinities do not change, and NaN stays
    NaN."""
    changed: NDArray[np.bool_] = value.astype(np.float32) != value
    changed &= ~np.isnan(value)
    return changed


def _decreases(column: Int64Column, starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each value is less than the previous one in its segment."""
    decreases = np.zeros(len(column), np.bool_)
    np.less(column[1:], column[:-1], out=decreases[1:])
    decreases[starts] = False
    return decreases


def _reduce(function: np.ufunc, column: NDArray[np.generic], starts: NDArray[np.intp]) -> NDArray:  # type: ignore[type-arg]
    return function.reduceat(column, starts) if len(starts) else column[:0]


def _any(flags: NDArray[np.bool_], starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    if not flags.any():
        return np.zeros(len(starts), np.bool_)
    found: NDArray[np.bool_] = np.logical_or.reduceat(flags, starts)
    return found
