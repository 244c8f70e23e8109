"""QueryService: decodes, calls the reads, encodes columns as blocks (see packed.proto)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from numpy.typing import NDArray

from runstream.v1 import packed_pb2, query_pb2
from runstream_service.query.history import HistoryQuestion
from runstream_service.rpc.caller import caller_of

if TYPE_CHECKING:
    from runstream_service.query.columns import Columns
    from runstream_service.query.history import History
    from runstream_service.query.latest import Latest, LatestPoints
    from runstream_service.query.series import Series

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "runstream.v1.QueryService"

MAX_LATEST_POINTS = 16_384  # in one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The reads that are served."""

    history: History
    latest: Latest


def query_handler(queries: Queries) -> grpc.GenericRpcHandler:
    """The service's handler. Not the generated one: answers are Packed messages, the same bytes."""
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
            response_serializer=packed_pb2.PackedLatestResponse.SerializeToString,
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


class QueryServicer:
    """One method an RPC; their contract is in query.proto."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def history(self, request: query_pb2.HistoryRequest, context: Context) -> None:
        """Streams pieces as they come out of PostgreSQL; a slow caller is waited for."""
        question = HistoryQuestion(
            run_id=request.run_id,
            keys=list(request.keys),
            **present(request, "rank", "attempt", "min_step", "max_step"),
        )

        async def emit(series: Series, points: Columns) -> None:
            await context.write(packed_history(series, points))

        await self._queries.history.read(caller_of(context), question, emit)

    async def latest(self, request: query_pb2.LatestRequest, context: Context) -> None:
        """Streams what was read at once."""
        points = await self._queries.latest.read(caller_of(context), list(request.run_ids), list(request.keys))
        for piece in points.pieces(MAX_LATEST_POINTS):
            await context.write(_packed_latest(piece))


def present(request: Any, *names: str) -> dict[str, Any]:
    """The optional fields that the request has."""
    return {name: getattr(request, name) for name in names if request.HasField(name)}


def packed_history(series: Series, points: Columns) -> packed_pb2.PackedHistoryResponse:
    """Points of one series."""
    return packed_pb2.PackedHistoryResponse(
        series=packed_series(series),
        point_count=len(points),
        step=_block(points.step, "<i8"),
        time_unix_us=_block(points.time_unix_us, "<i8"),
        value=_block(points.value, "<f8"),
    )


def packed_series(series: Series) -> bytes:
    """The bytes of a Series."""
    return query_pb2.Series(
        run_id=series.run_id, key=series.key, rank=series.rank, attempt=series.attempt
    ).SerializeToString()


def _packed_latest(points: LatestPoints) -> packed_pb2.PackedLatestResponse:
    return packed_pb2.PackedLatestResponse(
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
    )


def _block(column: NDArray[Any], type_: str) -> bytes:
    return column.astype(np.dtype(type_), copy=False).tobytes()
