"""QueryService: decodes, calls the reads, encodes columns as blocks (see packed.proto)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from numpy.typing import NDArray

from runstream.v1 import packed_pb2, query_pb2
from runstream_service.errors.core import InvalidField
from runstream_service.query.charts.aggregate import AggregateQuery
from runstream_service.query.charts.chart import ChartQuery
from runstream_service.query.charts.curves import Axis
from runstream_service.query.history.history import HistoryQuery
from runstream_service.query.reading.read_transaction import compute
from runstream_service.rpc.caller import caller_of

if TYPE_CHECKING:
    from runstream_service.query.charts.aggregate import AggregateCurve
    from runstream_service.query.charts.buckets import Buckets
    from runstream_service.query.latest import LatestPoints
    from runstream_service.query.reading.columns import Columns
    from runstream_service.query.reading.series import Series
    from runstream_service.server.wiring import Queries

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "runstream.v1.QueryService"

MAX_LATEST_POINTS = 16_384  # in one message


def query_handler(queries: Queries) -> grpc.GenericRpcHandler:
    """The service's handler, all methods except Tail. It is not the generated one: its responses are Packed messages,
    which have the same bytes and are encoded without a Python object per point."""
    servicer = QueryServicer(queries)
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "History": grpc.unary_stream_rpc_method_handler(
            servicer.history,
            request_deserializer=query_pb2.HistoryRequest.FromString,
            response_serializer=packed_pb2.PackedHistoryResponse.SerializeToString,
        ),
        "Latest": grpc.unary_stream_rpc_method_handler(
            servicer.latest,
            request_deserializer=query_pb2.LatestRequest.FromString,
            response_serializer=None,
        ),
        "Chart": grpc.unary_stream_rpc_method_handler(
            servicer.chart,
            request_deserializer=query_pb2.ChartRequest.FromString,
            response_serializer=packed_pb2.PackedChartResponse.SerializeToString,
        ),
        "Aggregate": grpc.unary_unary_rpc_method_handler(
            servicer.aggregate,
            request_deserializer=query_pb2.AggregateRequest.FromString,
            response_serializer=packed_pb2.PackedAggregateResponse.SerializeToString,
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


class QueryServicer:
    """One method per RPC; their contract is in query.proto."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def history(self, request: query_pb2.HistoryRequest, context: Context) -> None:
        """Streams pieces of series as PostgreSQL sends them; waits for a slow caller."""
        query = HistoryQuery(
            run_id=request.run_id,
            keys=list(request.keys),
            **fields_set_in(request, "rank", "attempt", "min_step", "max_step"),
        )

        async def emit(series: Series, points: Columns) -> None:
            await context.write(packed_history(series, points))

        await self._queries.history.read(caller_of(context), query, emit)

    async def latest(self, request: query_pb2.LatestRequest, context: Context) -> None:
        """Streams points that were read in one step, at most MAX_LATEST_POINTS in each message."""
        points = await self._queries.latest.read(caller_of(context), list(request.run_ids), list(request.keys))
        answers = map(_packed_latest, points.pieces(MAX_LATEST_POINTS))
        rows = min(len(points), MAX_LATEST_POINTS)
        while (answer := await compute(rows, next, answers, None)) is not None:
            await context.write(answer)

    async def chart(self, request: query_pb2.ChartRequest, context: Context) -> None:
        """Streams the curves, one message for each series."""
        query = ChartQuery(
            run_ids=list(request.run_ids),
            keys=list(request.keys),
            axis=_axis(request.axis),
            max_buckets=request.max_buckets,
            **fields_set_in(request, "rank", "attempt", "min_position", "max_position", "log_origin"),
        )

        async def emit(series: Series, buckets: Buckets) -> None:
            await context.write(_packed_chart(series, buckets))

        await self._queries.chart.read(caller_of(context), query, emit)

    async def aggregate(
        self, request: query_pb2.AggregateRequest, context: Context
    ) -> packed_pb2.PackedAggregateResponse:
        """Returns the whole curve in one message."""
        query = AggregateQuery(
            run_id=request.run_id,
            key=request.key,
            max_buckets=request.max_buckets,
            **fields_set_in(request, "min_step", "max_step", "log_origin"),
        )
        return _packed_aggregate(await self._queries.aggregate.read(caller_of(context), query))


def _axis(number: int) -> Axis:
    if number in (query_pb2.AXIS_UNSPECIFIED, query_pb2.AXIS_STEP):
        return Axis.STEP
    if number == query_pb2.AXIS_TIME:
        return Axis.TIME
    raise InvalidField(f"axis: {number} is neither AXIS_STEP (1) nor AXIS_TIME (2)", field="axis")


def fields_set_in(request: Any, *names: str) -> dict[str, Any]:
    """The optional fields that are set in the request."""
    return {name: getattr(request, name) for name in names if request.HasField(name)}


def packed_history(series: Series, points: Columns) -> packed_pb2.PackedHistoryResponse:
    """The message with points of one series."""
    return packed_pb2.PackedHistoryResponse(
        series=packed_series(series),
        point_count=len(points),
        step=_block(points.step, "<i8"),
        time_unix_us=_block(points.time_unix_us, "<i8"),
        value=_block(points.value, "<f8"),
    )


def packed_series(series: Series) -> bytes:
    """The bytes of a Series message."""
    return query_pb2.Series(
        run_id=series.run_id, key=series.key, rank=series.rank, attempt=series.attempt
    ).SerializeToString()


def _packed_latest(points: LatestPoints) -> bytes:
    best = points.best
    assert best is not None, "Latest.read reads best values"
    answer = packed_pb2.PackedLatestResponse(
        run_ids=points.run_ids,
        keys=points.keys,
        point_count=len(points),
        run_index=_block(points.run_index, "<u4"),
        key_index=_block(points.key_index, "<u4"),
        rank=_block(points.rank, "<i4"),
        attempt=_block(points.attempt, "<i4"),
        step=_block(points.step, "<i8"),
        time_unix_us=_block(points.time_unix_us, "<i8"),
        value=_block(points.value, "<f8"),
        min_value=_block(best.min_value, "<f8"),
        min_step=_block(best.min_step, "<i8"),
        max_value=_block(best.max_value, "<f8"),
        max_step=_block(best.max_step, "<i8"),
    )
    return answer.SerializeToString()


def _packed_chart(series: Series, buckets: Buckets) -> packed_pb2.PackedChartResponse:
    return packed_pb2.PackedChartResponse(
        series=packed_series(series),
        bucket_count=len(buckets),
        first_position=_block(buckets.first_position, "<i8"),
        last_position=_block(buckets.last_position, "<i8"),
        point_count=_block(buckets.point_count, "<u4"),
        non_finite_count=_block(buckets.point_count - buckets.finite_count, "<u4"),
        first=_block(buckets.first, "<f8"),
        last=_block(buckets.last, "<f8"),
        min=_block(buckets.min, "<f8"),
        max=_block(buckets.max, "<f8"),
        mean=_block(buckets.mean, "<f8"),
    )


def _packed_aggregate(curve: AggregateCurve) -> packed_pb2.PackedAggregateResponse:
    return packed_pb2.PackedAggregateResponse(
        bucket_count=len(curve),
        first_step=_block(curve.first_step, "<i8"),
        last_step=_block(curve.last_step, "<i8"),
        rank_count=_block(curve.rank_count, "<u4"),
        min=_block(curve.min, "<f8"),
        max=_block(curve.max, "<f8"),
        mean=_block(curve.mean, "<f8"),
        min_rank=_block(curve.min_rank, "<i4"),
        max_rank=_block(curve.max_rank, "<i4"),
        non_finite_count=_block(curve.non_finite_count, "<u4"),
    )


def _block(column: NDArray[Any], type_: str) -> bytes:
    return column.astype(np.dtype(type_), copy=False).tobytes()
