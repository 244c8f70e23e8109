"""All that a page about one run begins with: its series with their latest points, where its attempts began, and how
fast it logs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from runstream_service.errors.core import InvalidField
from runstream_service.query.charts.chart import MAX_CURVES, ChartQuery
from runstream_service.query.charts.curves import Axis

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.charts.buckets import Buckets
    from runstream_service.query.charts.chart import Chart
    from runstream_service.query.keys_in_use import KeysInUse
    from runstream_service.query.latest import Latest, LatestPoints
    from runstream_service.query.reading.series import Series

# Of a run with more series than a reading of latest values takes, only this many metrics are read.
_SOME_KEYS = 100
_MAX_ATTEMPTS = 50
# Metrics by which the beginning of an attempt is found: some may begin later than others.
_KEYS_OF_ATTEMPT = 10
_RATE_OVER_S = 30


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """Where an attempt began: the first step and the first time of its lowest rank."""

    attempt: int
    first_step: int
    first_time_us: int


class RunOverview:
    """Reads it."""

    def __init__(self, latest: Latest, chart: Chart, keys: KeysInUse) -> None:
        self._latest = latest
        self._chart = chart
        self._keys = keys

    async def series(self, caller: Caller, run_id: UUID) -> LatestPoints:
        """The latest point of each series.

        Raises:
            ReadTooSlow, DatabaseUnavailable, Overloaded.
        """
        try:
            return await self._latest.read(caller, [run_id.hex])
        except InvalidField:  # there are too many
            some = await self._keys.metrics_of_runs(caller, [run_id], _SOME_KEYS)
            return await self._latest.read(caller, [run_id.hex], some)

    async def attempts(self, caller: Caller, points: LatestPoints) -> list[AttemptStart]:
        """Where the attempts of a run began, of which these are the latest points; the newest ones, if there are many.

        Raises:
            ReadTooSlow, DatabaseUnavailable, Overloaded.
        """
        starts = []
        for attempt in np.unique(points.attempt).tolist()[-_MAX_ATTEMPTS:]:
            of_attempt = points.rows(points.attempt == attempt)
            rank = int(of_attempt.rank.min())
            keys = [points.keys[key] for key in of_attempt.key_index[of_attempt.rank == rank][:_KEYS_OF_ATTEMPT]]
            step, time_us = [
                await self._first(caller, points.run_ids[0], keys, rank, attempt, axis)
                for axis in (Axis.STEP, Axis.TIME)
            ]
            if step is not None and time_us is not None:
                starts.append(AttemptStart(attempt, step, time_us))
        return starts

    async def _first(
        self, caller: Caller, run_id: str, keys: Sequence[str], rank: int, attempt: int, axis: Axis
    ) -> int | None:
        firsts: list[int] = []

        async def emit(_series: Series, buckets: Buckets) -> None:
            firsts.append(int(buckets.first_position[0]))

        query = ChartQuery(run_ids=[run_id], keys=keys, rank=rank, attempt=attempt, axis=axis, max_buckets=1)
        await self._chart.read(caller, query, emit)
        return min(firsts, default=None)

    async def points_per_s(self, caller: Caller, points: LatestPoints) -> float | None:
        """The points of the last seconds, by their own times; None if there are too many series to count them.

        Raises:
            ReadTooSlow, DatabaseUnavailable, Overloaded.
        """
        if not 0 < len(points) <= MAX_CURVES:
            return None
        counts: list[int] = []

        async def emit(_series: Series, buckets: Buckets) -> None:
            counts.append(int(buckets.point_count.sum()))

        since_us = round((time.time() - _RATE_OVER_S) * 1e6)
        query = ChartQuery(run_ids=points.run_ids, axis=Axis.TIME, min_position=since_us, max_buckets=1)
        await self._chart.read(caller, query, emit)
        return sum(counts) / _RATE_OVER_S
