"""What the page of one run begins with: its series with their latest points, where its attempts began, and how fast it
logs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from runstream_service.errors.core import InvalidField
from runstream_service.query.charts.chart import MAX_CURVES, ChartQuery
from runstream_service.query.charts.curves import Axis

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.charts.beginnings import Beginnings
    from runstream_service.query.charts.buckets import Buckets
    from runstream_service.query.charts.chart import Chart
    from runstream_service.query.keys_in_use import KeysInUse
    from runstream_service.query.latest import Latest, LatestPoints
    from runstream_service.query.reading.series import Series

# If a run has more series than one read of latest points allows, only this many metrics are read.
_SOME_KEYS = 100
_MAX_ATTEMPTS = 50
# How many metrics are read to find where an attempt began: some may begin later than others.
_KEYS_OF_ATTEMPT = 10
_RATE_OVER_S = 30


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """Where an attempt began: the first step and the first time of its lowest rank."""

    attempt: int
    first_step: int
    first_time_us: int


class RunOverview:
    """Reads the overview of a run."""

    def __init__(self, latest: Latest, chart: Chart, beginnings: Beginnings, keys: KeysInUse) -> None:
        self._latest = latest
        self._chart = chart
        self._beginnings = beginnings
        self._keys = keys

    async def series(self, caller: Caller, run_id: UUID) -> LatestPoints:
        """The latest point of each series of a run; of the first 100 metrics, if it has too many series.

        Raises:
            ReadTooSlow, DatabaseUnavailable, Overloaded.
        """
        try:
            return await self._latest.read(caller, [run_id.hex])
        except InvalidField:  # there are too many
            some = await self._keys.metrics_of_runs(caller, [run_id], _SOME_KEYS)
            return await self._latest.read(caller, [run_id.hex], some)

    async def attempts(self, caller: Caller, run_id: UUID, points: LatestPoints) -> list[AttemptStart]:
        """Where the attempts of a run began; the newest 50, if there are more. `points`: the latest points of the run.

        Raises:
            ReadTooSlow, DatabaseUnavailable, Overloaded.
        """
        starts = []
        for attempt in np.unique(points.attempt).tolist()[-_MAX_ATTEMPTS:]:
            of_attempt = points.take(points.attempt == attempt)
            rank = int(of_attempt.rank.min())
            keys = [points.keys[key] for key in of_attempt.key_index[of_attempt.rank == rank][:_KEYS_OF_ATTEMPT]]
            found = await self._beginnings.of_attempt(caller, run_id, keys, rank=rank, attempt=attempt)
            if found is not None:
                starts.append(AttemptStart(attempt, found.first_step, found.first_time_us))
        return starts

    async def points_per_s(self, caller: Caller, points: LatestPoints) -> float | None:
        """Points per second over the last 30 s, by the times of the points; None if there are too many series to count.

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
