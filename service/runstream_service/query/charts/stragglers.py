"""Finds slow ranks of a run, by a metric that is a duration, such as the time of a step.

The two scores are those of NVIDIA's resiliency extension
(https://nvidia.github.io/nvidia-resiliency-ext/straggler_det/): reference performance / current performance, where a
performance is the median duration in a window. The reference is that of the best rank in the same window (relative), or
the best that this rank has had so far (individual). 1.0 is as good as the reference, 0.5 twice as slow; a rank with a
score below 0.75 is a straggler.

Windows have equal lengths, and the last one ends with the last step. In a long run, the median of a window is taken
over means of neighbouring steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from runstream_service.core.names import parse_run_id
from runstream_service.errors.core import RunNotFound
from runstream_service.query.charts.buckets import Float64, Int64
from runstream_service.query.charts.chart import MAX_CURVES, ChartQuery
from runstream_service.query.history.history import HistoryQuery
from runstream_service.query.reading.read_transaction import compute

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.charts.buckets import Buckets
    from runstream_service.query.charts.chart import Chart
    from runstream_service.query.history.history import History
    from runstream_service.query.reading.columns import Columns
    from runstream_service.query.reading.series import Series

THRESHOLD = 0.75
_BUCKETS = 400
_WINDOWS = 50
# The least length of a window: a median of fewer steps would depend on single ones.
_LEAST_STEPS = 10
# For how many ranks the time is read since when they are slow. If more are slow, something else is wrong.
_MAX_TIMES = 32


@dataclass(frozen=True, slots=True)
class RankDurations:
    """Durations of a rank, in the order of steps. Each is a mean over the steps from `step` up to the next one."""

    rank: int
    step: Int64
    duration: Float64


@dataclass(frozen=True, slots=True)
class RankScore:
    """The scores of a rank in the last window in which it logged, and since when one of them has been too low."""

    rank: int
    median: float
    relative: float
    individual: float
    slow_since_step: int | None = None
    slow_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of all ranks, and the length of a window in steps."""

    window_steps: int
    ranks: list[RankScore]


class Stragglers:
    """Reads the scores of ranks."""

    def __init__(self, chart: Chart, history: History) -> None:
        self._chart = chart
        self._history = history

    async def read(self, caller: Caller, run_id: str, key: str) -> Scores:
        """The scores of the first 1,000 ranks that logged the metric.

        Raises:
            InvalidField, RunNotFound, ReadTooSlow, DatabaseUnavailable.
        """
        found: list[RankDurations] = []

        async def emit(series: Series, buckets: Buckets) -> None:
            found.append(RankDurations(series.rank, buckets.first_position, buckets.mean))

        parse_run_id(run_id, field="run_id")
        query = ChartQuery(run_ids=[run_id], keys=[key], max_buckets=_BUCKETS, first_curves=MAX_CURVES)
        try:
            await self._chart.read(caller, query, emit)
        except RunNotFound as error:
            raise RunNotFound(error.message, field="run_id", subject=run_id) from error
        scores = await compute(sum(len(one.step) for one in found), scores_of, found)
        slow = [one for one in scores.ranks if one.slow_since_step is not None][:_MAX_TIMES]
        times = {one.rank: await self._time_of(caller, run_id, key, one) for one in slow}
        return replace(scores, ranks=[replace(one, slow_since_us=times.get(one.rank)) for one in scores.ranks])

    async def _time_of(self, caller: Caller, run_id: str, key: str, score: RankScore) -> int | None:
        times: list[int] = []

        async def emit(_series: Series, points: Columns) -> None:
            times.extend(points.time_unix_us.tolist())

        step = score.slow_since_step
        query = HistoryQuery(run_id=run_id, keys=[key], rank=score.rank, min_step=step, max_step=step)
        await self._history.read(caller, query, emit)
        return max(times, default=None)  # of several attempts, that of the newest


def scores_of(found: Sequence[RankDurations]) -> Scores:
    """The scores of ranks, in their order. Values that are not durations (0 or less, or not finite) are ignored, and so
    are ranks that have no other values."""
    index = np.repeat(np.arange(len(found)), [len(one.step) for one in found])
    step = np.concatenate([np.zeros(0, np.int64), *(one.step for one in found)])
    duration = np.concatenate([np.zeros(0), *(one.duration for one in found)])
    counts = np.isfinite(duration) & (duration > 0)
    index, step, duration = index[counts], step[counts], duration[counts]
    if not len(step):
        return Scores(_LEAST_STEPS, [])
    last, steps = int(step.max()), int(step.max()) - int(step.min()) + 1
    window_steps = max(_LEAST_STEPS, -(-steps // _WINDOWS))
    # Window 0 is the newest. A difference of two int64 may overflow; read as unsigned, it is right.
    window = (np.subtract(np.int64(last), step).view(np.uint64) // np.uint64(window_steps)).astype(np.int64)
    return Scores(window_steps, _of_windows([one.rank for one in found], index, window, step, duration))


def _of_windows(ranks: Sequence[int], index: Int64, window: Int64, step: Int64, duration: Float64) -> list[RankScore]:
    order = np.lexsort((duration, -window, index))
    index, window, step, duration = index[order], window[order], step[order], duration[order]
    # One group for each rank and window; the oldest window of a rank comes first.
    starts = np.flatnonzero((np.diff(index, prepend=-1) != 0) | (np.diff(window, prepend=-1) != 0))
    count = np.diff(np.append(starts, len(index)))
    lower, upper = duration[starts + (count - 1) // 2], duration[starts + count // 2]
    median = lower + (upper - lower) / 2  # a sum could exceed the largest double
    first_step = np.minimum.reduceat(step, starts)
    index, window = index[starts], window[starts]
    best = np.full(int(window.max()) + 1, np.inf)
    np.minimum.at(best, window, median)
    relative = best[window] / median
    scores = []
    for at in np.unique(index).tolist():
        own = np.flatnonzero(index == at)
        individual = np.minimum.accumulate(median[own]) / median[own]
        is_slow = (relative[own] < THRESHOLD) | (individual < THRESHOLD)
        fast = np.flatnonzero(~is_slow)
        since = int(fast[-1]) + 1 if len(fast) else 0
        scores.append(
            RankScore(
                rank=ranks[at],
                median=float(median[own[-1]]),
                relative=float(relative[own[-1]]),
                individual=float(individual[-1]),
                slow_since_step=int(first_step[own[since]]) if since < len(own) else None,
            )
        )
    return scores
