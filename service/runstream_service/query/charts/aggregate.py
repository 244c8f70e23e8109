"""Combines all ranks of a run into one curve: least, greatest and mean value, and the ranks that had the extremes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runstream_service.query.charts.buckets import Bucketing, Buckets, Distinct, Float64, Int64, even_buckets
from runstream_service.query.charts.chart import bucket_count, range_of
from runstream_service.query.charts.curves import Axis, Curve, CurveSources, Range, batches, curves_of
from runstream_service.query.charts.segment_arrays import CurveBuilder, read_arrays, read_steps
from runstream_service.query.reading.read_transaction import whole_read
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP, series_of_run

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.reading.read_transaction import ReadPool, ReadTransaction

# Summaries are needed twice, first for the extent, then for the curve. Up to this many are kept; more are read twice.
_KEPT_SEGMENTS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateQuery:
    """The arguments of an aggregate. None means no bound. Bounds are inclusive."""

    run_id: str
    key: str
    min_step: int | None = None
    max_step: int | None = None
    max_buckets: int = 0
    # Buckets are equally wide in the logarithm of the distance from this step. None: equally wide in the step.
    log_origin: int | None = None


@dataclass(frozen=True, slots=True)
class AggregateCurve:
    """One row for each bucket that has points. If no rank has a finite value in it, min, max and mean are NaN, and
    min_rank and max_rank are -1.

    `rank_count`: ranks with a finite value. `non_finite_count`: points of all ranks that are not finite.
    """

    first_step: Int64
    last_step: Int64
    rank_count: Int64
    min: Float64
    max: Float64
    mean: Float64
    min_rank: Int64
    max_rank: Int64
    non_finite_count: Int64

    def __len__(self) -> int:
        return len(self.first_step)


class Aggregate:
    """Reads aggregates over ranks."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    @whole_read
    async def read(self, caller: Caller, query: AggregateQuery) -> AggregateCurve:
        """The aggregate of one key. Of each rank, a newer attempt replaces older ones from its first step on.

        Raises:
            InvalidField, RunNotFound, ReadTooSlow, DatabaseUnavailable.
        """
        count = bucket_count(query.max_buckets)
        wanted = range_of(Axis.STEP, query.min_step, query.max_step)
        async with self._read_pool.transaction() as transaction:
            curves = curves_of(await series_of_run(transaction, caller, query.run_id, [query.key]))
            ranks = _Ranks(transaction, curves, wanted)
            bucketing = await _bucketing(transaction, ranks, count, query.log_origin)
            accumulator = _RankAccumulator(bucketing)
            async with aclosing(ranks.batches()) as parts:
                async for sources in parts:
                    builders = [CurveBuilder(one, bucketing) for one in sources]
                    await read_arrays([transaction], builders)
                    for builder in builders:
                        accumulator.add(builder.sources.series.rank, builder.buckets())
        return accumulator.curve()


class _Ranks:
    """The sources of all ranks, which can be iterated several times."""

    def __init__(self, transaction: ReadTransaction, curves: Sequence[Curve], wanted: Range) -> None:
        self._transaction = transaction
        self._curves = curves
        self._wanted = wanted
        self._kept: list[list[CurveSources]] | None = None

    async def batches(self) -> AsyncGenerator[list[CurveSources], None]:
        """Yields the sources of some ranks at a time."""
        if self._kept is not None:
            for sources in self._kept:
                yield sources
            return
        kept: list[list[CurveSources]] = []
        segments = 0
        async with aclosing(batches(self._transaction, self._curves, self._wanted)) as parts:
            async for sources in parts:
                segments += sum(len(one.first) + len(one.hot_position) for one in sources)
                if segments <= _KEPT_SEGMENTS:
                    kept.append(sources)
                yield sources
        if segments <= _KEPT_SEGMENTS:
            self._kept = kept


async def _bucketing(transaction: ReadTransaction, ranks: _Ranks, count: int, log_origin: int | None) -> Bucketing:
    """One bucket for each step if there are at most `count` steps; else buckets of equal width. All ranks share
    them."""
    low, high, least_steps = MAX_STEP, MIN_STEP, 0
    async with aclosing(ranks.batches()) as parts:
        async for sources in parts:
            for one in sources:
                if (extent := one.extent()) is not None:
                    low, high = min(low, extent[0]), max(high, extent[1])
                    least_steps = max(least_steps, _least_steps(one))
    if low > high:
        return Distinct(np.zeros(0, np.int64))
    if least_steps <= count and (steps := await _steps(transaction, ranks, count)) is not None:
        return Distinct(steps)
    return even_buckets(low, high, log_origin, count)


def _least_steps(sources: CurveSources) -> int:
    """A lower bound of the number of distinct steps, computed without reading arrays."""
    if not len(sources.first):
        return len(np.unique(sources.hot_position))
    order = np.argsort(sources.first, kind="stable")
    first, last = sources.first[order], sources.last[order]
    reach = np.maximum.accumulate(last)
    # A segment that begins after all earlier ones have ended shares no step with them.
    alone = np.concatenate([[True], first[1:] > reach[:-1]]) & ~sources.cut[order]
    regular = np.where(sources.step_stride[order] > 0, sources.point_count[order], 1)
    least = np.where(sources.step_stride[order] >= 0, regular, np.where(first < last, 2, 1))
    return int(least[alone].sum())


async def _steps(transaction: ReadTransaction, ranks: _Ranks, count: int) -> Int64 | None:
    """All distinct steps; None as soon as there are more than `count`."""
    steps = np.zeros(0, np.int64)
    async with aclosing(ranks.batches()) as parts:
        async for sources in parts:
            for one in sources:
                steps = np.union1d(steps, await read_steps(transaction, one))
                if len(steps) > count:
                    return None
    return steps


class _RankAccumulator:
    """Adds up the buckets of all ranks, one rank after the other."""

    def __init__(self, bucketing: Bucketing) -> None:
        size = bucketing.count
        self._first = np.full(size, MAX_STEP, np.int64)
        self._last = np.full(size, MIN_STEP, np.int64)
        self._there = np.zeros(size, np.bool_)
        self._rank_count = np.zeros(size, np.int64)
        self._min = np.full(size, np.inf)
        self._max = np.full(size, -np.inf)
        self._mean = np.zeros(size)
        self._min_rank = np.full(size, -1, np.int64)
        self._max_rank = np.full(size, -1, np.int64)
        self._non_finite_count = np.zeros(size, np.int64)

    def add(self, rank: int, buckets: Buckets) -> None:
        """Add the buckets of a rank. Ranks must be added in ascending order: of two equal extremes, the lower rank
        stays."""
        at = buckets.number
        self._there[at] = True
        self._first[at] = np.minimum(self._first[at], buckets.first_position)
        self._last[at] = np.maximum(self._last[at], buckets.last_position)
        self._non_finite_count[at] += buckets.point_count - buckets.finite_count
        finite = buckets.finite_count > 0
        at = at[finite]
        self._put(self._min, self._min_rank, at, buckets.min[finite], rank, np.less)
        self._put(self._max, self._max_rank, at, buckets.max[finite], rank, np.greater)
        self._rank_count[at] += 1
        share = 1.0 / self._rank_count[at]
        # A weighted mean, since a sum, or the difference to the current mean, could exceed the largest double.
        self._mean[at] = self._mean[at] * (1.0 - share) + buckets.mean[finite] * share

    def curve(self) -> AggregateCurve:
        """The curve over all ranks that were added."""
        there = self._there
        some = self._rank_count[there] > 0
        return AggregateCurve(
            first_step=self._first[there],
            last_step=self._last[there],
            rank_count=self._rank_count[there],
            min=np.where(some, self._min[there], np.nan),
            max=np.where(some, self._max[there], np.nan),
            mean=np.where(some, np.clip(self._mean[there], self._min[there], self._max[there]), np.nan),
            min_rank=self._min_rank[there],
            max_rank=self._max_rank[there],
            non_finite_count=self._non_finite_count[there],
        )

    @staticmethod
    def _put(best: Float64, whose: Int64, at: Int64, value: Float64, rank: int, better: np.ufunc) -> None:
        won: NDArray[np.bool_] = better(value, best[at])
        best[at[won]] = value[won]
        whose[at[won]] = rank
