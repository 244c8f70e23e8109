"""The points of one key of runs, as those see them who know neither ranks nor attempts, nor more than milliseconds: as
MLflow's clients.

Of a key that several ranks logged, the series of the lowest rank, all attempts. Points that are the same to such a
caller are one: requests that were repeated in another form leave such points, and MLflow has each once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.query.columns import Columns, joined
from runstream_service.query.history import read_series
from runstream_service.query.series import MAX_STEP, MIN_STEP, Series, StoredSeries, stored_series_of_runs

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.snapshot import Reads, Snapshot

# MLflow stores the infinities so.
_LARGEST = np.finfo(np.float64).max
_RUNS_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class MetricRows:
    """Points of one key of one run; row i of every column is one point. Infinities are the largest doubles."""

    step: NDArray[np.int64]
    timestamp_ms: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)

    def take(self, rows: NDArray[np.int64] | slice) -> MetricRows:
        """Some of the rows."""
        return MetricRows(self.step[rows], self.timestamp_ms[rows], self.value[rows])

    def by_time(self) -> MetricRows:
        """In the order (timestamp, step, value), where NaN is 0."""
        # Nearly always time and step rise together.
        if (self.timestamp_ms[1:] > self.timestamp_ms[:-1]).all():
            return self
        return self.take(np.lexsort((np.isnan(self.value), _comparable(self.value), self.step, self.timestamp_ms)))


class RunMetrics:
    """Reads them. Runs and keys that are not there have no rows.

    All methods raise InvalidField, ReadTooSlow and DatabaseUnavailable.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def history(self, caller: Caller, run_id: UUID, key: str) -> MetricRows:
        """All rows of a key by (step, timestamp, value)."""
        async with self._reads.snapshot() as snapshot:
            found = await _rows_by_run(
                snapshot, await _leading_series(snapshot, caller, [run_id], key), lambda rows: rows
            )
        return found.get(run_id.hex, NO_ROWS)

    async def first_rows(
        self, caller: Caller, run_ids: Sequence[UUID], key: str, limit: int
    ) -> list[tuple[str, MetricRows]]:
        """At most `limit` rows of all runs together: run by run as asked, each by (timestamp, step, value)."""
        found: list[tuple[str, MetricRows]] = []
        async with self._reads.snapshot() as snapshot:
            # A few at a time: nearly always the first ones fill the answer.
            for start in range(0, len(run_ids), _RUNS_AT_ONCE):
                if limit <= 0:
                    break
                stored = await _leading_series(snapshot, caller, run_ids[start : start + _RUNS_AT_ONCE], key)
                by_run = await _rows_by_run(snapshot, stored, MetricRows.by_time)
                for run_id, rows in by_run.items():
                    found.append((run_id, rows.take(slice(0, max(0, limit)))))
                    limit -= len(rows)
        return found

    async def samples(
        self, caller: Caller, run_ids: Sequence[UUID], key: str, steps: tuple[int, int], count: int
    ) -> dict[str, MetricRows]:
        """By run id at most `count` rows of those with steps between two (inclusive), evenly spread over the rows in
        the order (step, timestamp, value), the last among them."""
        async with self._reads.snapshot() as snapshot:
            stored = await _leading_series(snapshot, caller, run_ids, key)
            return await _rows_by_run(
                snapshot, stored, lambda rows: rows.take(spread(len(rows), count)), low=steps[0], high=steps[1]
            )


def spread(rows: int, count: int) -> NDArray[np.int64]:
    """Which of some rows in order stand for them: the first of each bucket of SQL's NTILE(count), and instead of the
    last one of those the last of all."""
    if rows <= count:
        return np.arange(rows, dtype=np.int64)
    size, larger = divmod(rows, count)
    bucket = np.arange(count, dtype=np.int64)
    places = bucket * size + np.minimum(bucket, larger)
    places[-1] = rows - 1
    return places


async def _leading_series(snapshot: Snapshot, caller: Caller, run_ids: Sequence[UUID], key: str) -> list[StoredSeries]:
    """All attempts of the lowest rank, for each run."""
    stored = await stored_series_of_runs(snapshot, caller, list(dict.fromkeys(run_ids)), [key])
    chosen: list[StoredSeries] = []
    for _, of_run in groupby(stored, key=lambda one: one.series.run_id):
        first, *others = of_run
        chosen += [first, *(one for one in others if one.series.rank == first.series.rank)]
    return chosen


async def _rows_by_run(
    snapshot: Snapshot,
    stored: Sequence[StoredSeries],
    reduce: Callable[[MetricRows], MetricRows],
    *,
    low: int = MIN_STEP,
    high: int = MAX_STEP,
) -> dict[str, MetricRows]:
    """What `reduce` leaves of each run's rows. Series come run by run, so only one run's points are held whole."""
    found: dict[str, MetricRows] = {}
    parts: list[Columns] = []
    reading = ""

    def finish() -> None:
        if parts:
            found[reading] = reduce(rows_of(joined(parts)))
            parts.clear()

    async def collect(series: Series, piece: Columns) -> None:
        nonlocal reading
        if series.run_id != reading:
            finish()
            reading = series.run_id
        parts.append(piece)

    await snapshot.in_time(read_series(snapshot, stored, collect, low=low, high=high))
    finish()
    return found


def rows_of(points: Columns) -> MetricRows:
    """By (step, timestamp, value), where NaN is 0; each once."""
    step, timestamp = points.step, points.time_unix_us // 1_000
    value = np.clip(points.value, -_LARGEST, _LARGEST)
    rows = MetricRows(step, timestamp, value)
    if (step[1:] > step[:-1]).all():
        return rows
    comparable, is_nan = _comparable(value), np.isnan(value)
    order = np.lexsort((is_nan, comparable, timestamp, step))
    new = np.ones(len(order), np.bool_)
    new[1:] = False
    for column in (step, timestamp, comparable, is_nan):
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return rows.take(order[new])


def _comparable(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(value), 0.0, value)


NO_ROWS = MetricRows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))
