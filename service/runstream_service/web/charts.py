"""Charts: messages, and handlers that return arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from runstream_service.errors.core import InvalidField
from runstream_service.query.charts.aggregate import AggregateQuery
from runstream_service.query.charts.chart import MAX_BUCKETS, MAX_CURVES, ChartQuery
from runstream_service.query.charts.curves import Axis
from runstream_service.query.reading.series import MAX_STEP, MIN_STEP
from runstream_service.web.binary import ArrayCurve, Arrays
from runstream_service.web.request import Message

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.query.charts.buckets import Buckets
    from runstream_service.query.reading.series import Series
    from runstream_service.server.wiring import Queries

_CHART = ("first_position", "last_position", "point_count", "non_finite_count", "first", "last", "min", "max", "mean")
_AGGREGATE = (
    "first_step",
    "last_step",
    "rank_count",
    "non_finite_count",
    "min",
    "max",
    "mean",
    "min_rank",
    "max_rank",
)
# A response with this many buckets has 43 MB. The more buckets a curve has, the fewer curves a response may have.
_MAX_TOTAL_BUCKETS = 600_000

Buckets_ = Annotated[int, Meta(ge=1, le=MAX_BUCKETS)]
Position = int | float | None
LogOrigin = Annotated[int, Meta(ge=MIN_STEP, le=MAX_STEP)]


class ChartOfRuns(Message):
    """POST charts. `min` and `max` are positions on the axis, which may lie between two steps."""

    run_ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)]
    keys: Annotated[tuple[str, ...], Meta(max_length=1_000)] = ()
    axis: Literal["step", "time"] = "step"
    min: Position = None
    max: Position = None
    max_buckets: Buckets_ = 600
    rank: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    attempt: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    log_origin: LogOrigin | None = None
    draft: bool = False


class AggregateOfRun(Message):
    """POST aggregate."""

    run_id: str
    key: str
    min: Position = None
    max: Position = None
    max_buckets: Buckets_ = 600
    log_origin: LogOrigin | None = None


class ChartHandlers:
    """One method per route of routes.py."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def chart(self, caller: Caller, message: ChartOfRuns) -> Arrays:
        low, high = positions(message.min, message.max)
        query = ChartQuery(
            run_ids=message.run_ids,
            keys=message.keys,
            rank=message.rank,
            attempt=message.attempt,
            axis=Axis(message.axis),
            min_position=low,
            max_position=high,
            max_buckets=message.max_buckets,
            first_curves=min(MAX_CURVES, _MAX_TOTAL_BUCKETS // message.max_buckets),
            log_origin=message.log_origin,
            draft=message.draft,
        )
        answer = Arrays(_CHART)

        async def emit(series: Series, buckets: Buckets) -> None:
            answer.curves.append(_curve(series, buckets))

        left_out = await self._queries.chart.read(caller, query, emit)
        if left_out:
            answer.cut = _cut(query.first_curves or 0, left_out)
        return answer

    async def aggregate(self, caller: Caller, message: AggregateOfRun) -> Arrays:
        low, high = positions(message.min, message.max)
        query = AggregateQuery(
            run_id=message.run_id,
            key=message.key,
            min_step=low,
            max_step=high,
            max_buckets=message.max_buckets,
            log_origin=message.log_origin,
        )
        curve = await self._queries.aggregate.read(caller, query)
        name = {"run_id": message.run_id, "key": message.key, "rank": None, "attempt": None}
        return Arrays(_AGGREGATE, [ArrayCurve(name, [getattr(curve, column) for column in _AGGREGATE])])


def _curve(series: Series, buckets: Buckets) -> ArrayCurve:
    name: dict[str, object] = {
        "run_id": series.run_id,
        "key": series.key,
        "rank": series.rank,
        "attempt": series.attempt,
    }
    if buckets.is_draft:
        name["is_draft"] = True
    non_finite = buckets.point_count - buckets.finite_count
    columns = [non_finite if column == "non_finite_count" else getattr(buckets, column) for column in _CHART]
    return ArrayCurve(name, columns)


def _cut(shown: int, left_out: int) -> dict[str, object]:
    return {
        "series": left_out,
        "message": f"{left_out:,} of {shown + left_out:,} series are not shown, those of the last keys; choose fewer "
        "runs or metrics, or one rank",
    }


def positions(low: Position, high: Position) -> tuple[int | None, int | None]:
    """The first and the last whole position between two bounds. Raises InvalidField if `low` is above `high`."""
    if low is not None and high is not None and low > high:
        raise InvalidField(f"min: is {low:g}, which is above max ({high:g})", field="min")
    return (
        None if low is None else _clipped(math.ceil(low)),
        None if high is None else _clipped(math.floor(high)),
    )


def _clipped(position: int) -> int:
    return min(max(position, MIN_STEP), MAX_STEP)
