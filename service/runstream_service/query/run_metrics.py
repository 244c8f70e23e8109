"""The points of one key of runs, as those see them who know neither ranks nor attempts, nor more than milliseconds: as
MLflow's clients.

Of a key that several ranks logged, the series of the lowest rank, all attempts. Points that are the same to such a
caller are one: requests that were repeated in another form leave such points, and MLflow has each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.query.columns import NO_POINTS, Columns, joined
from runstream_service.query.history import read_series
from runstream_service.query.series import Series, StoredSeries, stored_series_of_runs

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.snapshot import Reads, Snapshot

# MLflow stores the infinities so.
_LARGEST = np.finfo(np.float64).max


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
    """Reads them."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def history(self, caller: Caller, run_ids: Sequence[UUID], key: str) -> list[MetricRows]:
        """All rows of a key, for each run in the order asked, by (step, timestamp, value). Runs and keys that are not
        there have none.

        Raises:
            InvalidField, ReadTooSlow, DatabaseUnavailable.
        """
        async with self._reads.snapshot() as snapshot:
            stored = await _leading_series(snapshot, caller, run_ids, key)
            points = await _points_of(snapshot, stored)
        return [rows_of(points.get(run_id.hex, NO_POINTS)) for run_id in run_ids]


async def _leading_series(snapshot: Snapshot, caller: Caller, run_ids: Sequence[UUID], key: str) -> list[StoredSeries]:
    """All attempts of the lowest rank, for each run."""
    stored = await stored_series_of_runs(snapshot, caller, list(dict.fromkeys(run_ids)), [key])
    chosen: list[StoredSeries] = []
    for _, of_run in groupby(stored, key=lambda one: one.series.run_id):
        first, *others = of_run
        chosen += [first, *(one for one in others if one.series.rank == first.series.rank)]
    return chosen


async def _points_of(snapshot: Snapshot, stored: Sequence[StoredSeries]) -> dict[str, Columns]:
    """By run id; those of several attempts one after the other."""
    parts: dict[str, list[Columns]] = {}

    async def collect(series: Series, piece: Columns) -> None:
        parts.setdefault(series.run_id, []).append(piece)

    await snapshot.in_time(read_series(snapshot, stored, collect))
    return {run_id: joined(pieces) for run_id, pieces in parts.items()}


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
