"""Points of many series as numpy columns, and their sorting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.metric_values import comparable

Int64Column = NDArray[np.int64]
Float64Column = NDArray[np.float64]

_DIGIT_BITS = 16


@dataclass(slots=True)
class Points:
    """Points in columns: row i of each column is one point. `time` is in microseconds since 2000-01-01, as in
    PostgreSQL."""

    series_id: Int64Column
    step: Int64Column
    time: Int64Column
    value: Float64Column

    def __len__(self) -> int:
        return len(self.series_id)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Points:
        """The points at these positions."""
        return Points(self.series_id[rows], self.step[rows], self.time[rows], self.value[rows])


def concatenate(parts: list[Points]) -> Points:
    """All points of `parts`, of which there is at least one, in their order."""
    return Points(
        np.concatenate([part.series_id for part in parts]),
        np.concatenate([part.step for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def in_order(points: Points) -> Points:
    """The points sorted by (series, step, time). Equal ones stay in the order of arrival."""
    points = points.take(slice(None))
    put_in_order(points)
    return points


def put_in_order(points: Points) -> None:
    """Sorts points as `in_order` does, but column by column, so that at most one column is in memory twice.

    Points of a series usually arrive in order. So points are grouped by series, and only series with late points are
    sorted. (Measured: a third of the time of sorting everything by three keys.)
    """
    order = _by_series(points.series_id)
    points.series_id = points.series_id[order]
    points.step = points.step[order]
    points.time = points.time[order]
    points.value = points.value[order]
    late = _late(points)
    if not late.any():
        return
    starts = series_starts(points)
    unsorted = np.logical_or.reduceat(np.concatenate([[False], late]), starts)
    rows = np.flatnonzero(np.repeat(unsorted, np.diff(starts, append=len(points))))
    part = points.take(rows)
    # Whole series were taken out, so each of them goes back to its own rows.
    part = part.take(np.lexsort((part.time, part.step, part.series_id)))
    points.step[rows], points.time[rows], points.value[rows] = part.step, part.time, part.value


def series_starts(points: Points) -> NDArray[np.intp]:
    """The position of the first point of each series, of points that are grouped by series."""
    return np.flatnonzero(np.concatenate([[True], points.series_id[1:] != points.series_id[:-1]])[: len(points)])


def latest_points(points: Points) -> Points:
    """The latest point of each series, of sorted points: the last by step, then time, then value."""
    if len(points) == 0:
        return points
    ends = np.append(series_starts(points)[1:], len(points))
    chosen = ends - 1
    # Points with the same series, step and time are adjacent; if the last such group has several, the value decides.
    same = (
        (points.series_id[1:] == points.series_id[:-1])
        & (points.step[1:] == points.step[:-1])
        & (points.time[1:] == points.time[:-1])
    )
    groups = np.flatnonzero(np.concatenate([[True], ~same]))
    starts = groups[np.searchsorted(groups, chosen, side="right") - 1]
    for i in np.flatnonzero(starts < chosen).tolist():
        values = points.value[starts[i] : ends[i]]
        chosen[i] = starts[i] + np.argmax(comparable(values))
    return points.take(chosen)


def _late(points: Points) -> NDArray[np.bool_]:
    """Whether point i + 1 belongs before point i of the same series."""
    before, after = points.step[:-1], points.step[1:]
    late: NDArray[np.bool_] = (after < before) | ((after == before) & (points.time[1:] < points.time[:-1]))
    late &= points.series_id[1:] == points.series_id[:-1]
    return late


def _by_series(series_id: Int64Column) -> NDArray[np.intp]:
    """The positions of points in a stable order by series. numpy sorts 16-bit keys with radix sort, ten times as fast
    as 64-bit keys. The ids of an epoch are usually close together, so that one or two digits of 16 bits are enough."""
    if len(series_id) == 0:
        return np.zeros(0, np.intp)
    rest = (series_id - series_id.min()).view(np.uint64)
    order = np.argsort(rest.astype(np.uint16), kind="stable")
    highest, shift = int(rest.max()), _DIGIT_BITS
    while highest >> shift:
        digit = (rest >> np.uint64(shift)).astype(np.uint16)
        order = order[np.argsort(digit[order], kind="stable")]
        shift += _DIGIT_BITS
    return order
