"""Turns points into rows as MLflow's clients see them: with times in milliseconds, and without ranks and attempts.

Points that are equal for such a client are one row. They come from requests that were repeated in another form;
MLflow's server stores them once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.database.metric_values import comparable, without_infinities
from runstream_service.query.charts.buckets import Float64, Int64
from runstream_service.query.charts.segment_arrays import CurveBuilder, read_arrays
from runstream_service.query.reading.read_transaction import compute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runstream_service.query.charts.curves import CurveSources
    from runstream_service.query.reading.read_transaction import ReadTransaction


@dataclass(frozen=True, slots=True)
class MetricRows:
    """Rows of one key of one run, in columns. Infinities are replaced by the largest doubles."""

    step: Int64
    timestamp_ms: Int64
    value: Float64

    def __len__(self) -> int:
        return len(self.step)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> MetricRows:
        """The rows at these positions."""
        return MetricRows(self.step[rows], self.timestamp_ms[rows], self.value[rows])

    def by_time(self) -> MetricRows:
        """The rows in the order (timestamp, step, value), where NaN counts as 0, and comes after 0."""
        order = np.argsort(self.timestamp_ms, kind="stable")
        if not _rises(self.timestamp_ms[order]):
            order = np.lexsort((np.isnan(self.value), comparable(self.value), self.step, self.timestamp_ms))
        return self.take(order)

    def after(self, page_key: PageKey) -> MetricRows:
        """The rows after a page key. The rows must be in the order of by_time."""
        later = np.zeros(len(self), np.bool_)
        same = np.ones(len(self), np.bool_)
        columns = (self.timestamp_ms, self.step, comparable(self.value), np.isnan(self.value))
        for column, bound in zip(
            columns, (page_key.timestamp_ms, page_key.step, page_key.value, page_key.is_nan), strict=True
        ):
            later |= same & (column > bound)
            same &= column == bound
        return self.take(later)

    def page_key(self, row: int) -> PageKey:
        """The page key of a row."""
        is_nan = bool(np.isnan(self.value[row]))
        value = 0.0 if is_nan else float(self.value[row])
        return PageKey(int(self.timestamp_ms[row]), int(self.step[row]), value, is_nan)


@dataclass(frozen=True, slots=True)
class PageKey:
    """The position of a row in the order of by_time. A page begins after the key of the last row of the page before."""

    timestamp_ms: int
    step: int
    value: float
    is_nan: bool


def rows_of(step: Int64, time_unix_us: Int64, value: Float64) -> MetricRows:
    """Turn points in any order into distinct rows, sorted by (step, timestamp, value), where NaN counts as 0, and comes
    after 0."""
    rows = MetricRows(step, time_unix_us // 1_000, without_infinities(value))
    # Nearly always all steps are distinct. Sorting by one column is fast if they are nearly in order.
    order = np.argsort(step, kind="stable")
    if _rises(step[order]):
        return rows.take(order)
    compared, is_nan = comparable(rows.value), np.isnan(rows.value)
    order = np.lexsort((is_nan, compared, rows.timestamp_ms, step))
    new = np.ones(len(order), np.bool_)
    new[1:] = False
    for column in (step, rows.timestamp_ms, compared, is_nan):
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return rows.take(order[new])


def _rises(column: Int64) -> bool:
    return bool((column[1:] > column[:-1]).all())


NO_ROWS = MetricRows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))


async def read_page(
    transaction: ReadTransaction, sources: Sequence[CurveSources], after: PageKey | None, limit: int | None
) -> MetricRows:
    """The rows after a page key (None: all rows), by (timestamp, step, value). If there are more than `limit`, returns
    more than `limit` of them, without gaps. The sources are on the time axis, from the page key on."""
    builders = [CurveBuilder(one, None) for one in sources]
    if not builders:
        return NO_ROWS
    first = np.concatenate([one.first for one in sources])
    count = np.concatenate([one.point_count for one in sources])
    edges = np.cumsum([len(one.first) for one in sources])[:-1]
    by_time = np.argsort(first, kind="stable")
    total = np.cumsum(count[by_time])
    read, wanted = 0, len(first) if limit is None else limit + 1
    while True:
        end = len(first) if limit is None else min(len(first), int(np.searchsorted(total, wanted)) + 1)
        chosen = np.zeros(len(first), np.bool_)
        chosen[by_time[read:end]] = True
        for builder, its in zip(builders, np.split(chosen, edges), strict=True):
            builder.unsorted = its
        await read_arrays([transaction], builders)
        read = end
        points = int(count[chosen].sum()) + sum(len(one.hot_position) for one in sources)
        rows = await compute(points, _rows_after, builders, after)
        if read == len(first):
            return rows
        # All rows before the first segment that was not read are complete.
        rows = rows.take(rows.timestamp_ms < first[by_time[read]] // 1_000)
        if limit is not None and len(rows) > limit:
            return rows
        # Too few rows, since segments may overlap, and points may be equal or before the page: read more segments.
        wanted = 2 * int(total[read - 1])


def _rows_after(builders: Sequence[CurveBuilder], after: PageKey | None) -> MetricRows:
    parts = [builder.collected() for builder in builders]
    time, step, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    rows = rows_of(step, time, value).by_time()
    return rows if after is None else rows.after(after)
