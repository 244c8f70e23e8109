"""Charts: the curves of some runs, each in a limited number of buckets with exact values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runstream_service.core.names import parse_run_id
from runstream_service.errors.core import InvalidField
from runstream_service.query.charts.buckets import Buckets, even_buckets
from runstream_service.query.charts.curves import Axis, Curve, CurveSources, Range, batches, curves_of
from runstream_service.query.charts.segment_arrays import CurveBuilder, read_arrays
from runstream_service.query.reading.reader_thread import in_this_loop
from runstream_service.query.reading.series import (
    MAX_STEP,
    MIN_STEP,
    Series,
    check_keys,
    check_runs,
    count_curves,
    runs_of,
    series_of_runs,
)

if TYPE_CHECKING:
    from uuid import UUID

    from runstream_service.core.caller import Caller
    from runstream_service.query.charts.buckets import Bucketing
    from runstream_service.query.reading.read_transaction import ReadPool, ReadTransaction

MAX_RUNS = 100
MAX_CURVES = 1_000
MAX_SERIES = 20_000  # with all attempts
DEFAULT_BUCKETS = 1_000
MAX_BUCKETS = 10_000
# Up to this many buckets are sent after the end of the read, when it is known that no points were missed. More are sent
# earlier.
_WAITING_BUCKETS = 200_000
# From this many points on, arrays are read on two connections: PostgreSQL takes 70 to 80 ms for a million points.
_MANY_POINTS = 200_000
# A draft of a curve reads at most about this many points: those of the few segments that reach beyond the range, or
# into a newer attempt. It has fewer buckets for that, but at least _LEAST_OF_A_DRAFT.
_POINTS_OF_A_DRAFT = 8_000
_LEAST_OF_A_DRAFT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartQuery:
    """The arguments of a chart. None means no bound, no keys mean all keys. Bounds are inclusive."""

    run_ids: Sequence[str]
    keys: Sequence[str] = ()
    rank: int | None = None
    attempt: int | None = None
    axis: Axis = Axis.STEP
    min_position: int | None = None
    max_position: int | None = None
    max_buckets: int = 0
    # If there are more curves, only this many are read, by key. None: too many curves are an error.
    first_curves: int | None = None
    # Buckets are equally wide in the logarithm of the distance from this position. None: equally wide in the position.
    log_origin: int | None = None
    # Give curves fewer buckets if many of their points would have to be read, instead of summaries.
    draft: bool = False


Emit = Callable[[Series, Buckets], Awaitable[None]]


class Chart:
    """Reads charts."""

    def __init__(self, read_pool: ReadPool) -> None:
        self._read_pool = read_pool

    async def read(self, caller: Caller, query: ChartQuery, emit: Emit) -> int:
        """Passes one curve after the other to `emit`, in the order (run as requested, key, rank, attempt), or with
        `first_curves` (key, run, rank, attempt). Returns how many curves were left out.

        Raises:
            InvalidField: an argument is malformed, or there are more than MAX_CURVES curves.
            RunNotFound, ReadTooSlow, LimitReached, Overloaded, DatabaseUnavailable.
        """
        run_ids = _run_ids(query.run_ids)
        waiting, left_out = await self._read_pool.run(self._read(caller, run_ids, query, in_this_loop(emit)))
        await _emit_all(waiting, emit)
        return left_out

    async def _read(
        self, caller: Caller, run_ids: Sequence[UUID], query: ChartQuery, emit: Emit
    ) -> tuple[list[tuple[Series, Buckets]], int]:
        """Reads all curves. Returns those that wait for the end of the read, and how many were left out; if too many
        would wait, passes them to `emit` meanwhile."""
        count = bucket_count(query.max_buckets)
        wanted = range_of(query.axis, query.min_position, query.max_position)
        waiting: list[tuple[Series, Buckets]] = []
        size = 0
        async with self._read_pool.transaction() as transaction:
            curves, left_out = await _curves(transaction, caller, run_ids, query)
            async with aclosing(batches(transaction, curves, wanted)) as parts:
                async for sources in parts:
                    for series, buckets in await self._in_buckets(transaction, sources, query, count):
                        waiting.append((series, buckets))
                        size += len(buckets)
                    if size > _WAITING_BUCKETS:
                        await transaction.with_deadline(_emit_all(waiting, emit))
                        waiting, size = [], 0
        return waiting, left_out

    async def _in_buckets(
        self, transaction: ReadTransaction, sources: Sequence[CurveSources], query: ChartQuery, count: int
    ) -> list[tuple[Series, Buckets]]:
        plans = [_plan(one, query, count) for one in sources]
        points = sum(builder.points_to_read for builder, _, _ in plans)
        async with self._read_pool.readers(transaction, two=points >= _MANY_POINTS) as readers:
            await read_arrays(readers, [builder for builder, _, _ in plans])
        found = []
        for builder, bucketing, is_draft in plans:
            buckets = builder.buckets()
            if len(buckets) > count:
                buckets = builder.divide(bucketing)
            buckets.is_draft = is_draft
            if len(buckets):
                found.append((builder.sources.series, buckets))
        return found


def _plan(sources: CurveSources, query: ChartQuery, count: int) -> tuple[CurveBuilder, Bucketing, bool]:
    """How to read a curve: its builder, the buckets if it has more points than buckets, and whether it has fewer
    buckets because it is a draft."""
    low, high = sources.extent() or (0, 0)
    bucketing = even_buckets(low, high, query.log_origin, count)
    # If each point can have a bucket of its own, all are read.
    if sources.whole_count <= count:
        return CurveBuilder(sources, None), bucketing, False
    builder, fewer = CurveBuilder(sources, bucketing), count
    while query.draft and builder.points_to_read > _POINTS_OF_A_DRAFT and fewer > _LEAST_OF_A_DRAFT:
        fewer = max(fewer * 3 // 4, _LEAST_OF_A_DRAFT)
        builder = CurveBuilder(sources, even_buckets(low, high, query.log_origin, fewer))
    return builder, bucketing, fewer < count


def _run_ids(texts: Sequence[str]) -> list[UUID]:
    if not 1 <= len(texts) <= MAX_RUNS:
        raise InvalidField(f"run_ids: has {len(texts):,} runs; 1 to {MAX_RUNS:,} are allowed", field="run_ids")
    run_ids = [parse_run_id(text, field="run_ids") for text in texts]
    return list(dict.fromkeys(run_ids))


async def _curves(
    transaction: ReadTransaction, caller: Caller, run_ids: Sequence[UUID], query: ChartQuery
) -> tuple[list[Curve], int]:
    """The curves of a query, and how many were left out."""
    check_keys(query.keys)
    stored = await series_of_runs(
        transaction,
        caller,
        run_ids,
        query.keys,
        rank=query.rank,
        attempt=query.attempt,
        limit=MAX_SERIES + 1,
        by_key=query.first_curves is not None,
    )
    found = runs_of(stored)
    if without_series := [run_id for run_id in run_ids if run_id not in found]:
        await check_runs(transaction, caller, without_series, field="run_ids")
    curves = curves_of(stored)
    most = MAX_CURVES if query.first_curves is None else query.first_curves
    if len(curves) <= most and len(stored) <= MAX_SERIES:
        return curves, 0
    if query.first_curves is None:
        raise InvalidField(
            f"keys: the chart has more than {MAX_CURVES:,} series; ask for fewer runs, keys or ranks", field="keys"
        )
    if len(stored) <= MAX_SERIES:
        return curves[:most], len(curves) - most
    # The last one may have more attempts than were read.
    first = curves[:-1][:most]
    count = await count_curves(transaction, caller, run_ids, query.keys, rank=query.rank, attempt=query.attempt)
    return first, count - len(first)


async def _emit_all(waiting: Sequence[tuple[Series, Buckets]], emit: Emit) -> None:
    for series, buckets in waiting:
        await emit(series, buckets)


def bucket_count(max_buckets: int) -> int:
    """The requested number of buckets; 0 is the default number. Raises InvalidField."""
    if not 0 <= max_buckets <= MAX_BUCKETS:
        raise InvalidField(f"max_buckets: is {max_buckets:,}; 0 to {MAX_BUCKETS:,} are allowed", field="max_buckets")
    return max_buckets or DEFAULT_BUCKETS


def range_of(axis: Axis, low: int | None, high: int | None) -> Range:
    """The range between two bounds, each of which may be absent."""
    return Range(axis, MIN_STEP if low is None else low, MAX_STEP if high is None else high)
